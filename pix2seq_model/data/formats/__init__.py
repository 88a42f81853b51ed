"""What labelling tools write, read into one shape: functions of a file's content, no storage."""
