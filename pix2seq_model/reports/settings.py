"""What an evaluation's report is called and how much it shows. Needs no Matplotlib."""

REPORT_FILE = "report.html"
NUM_PICTURES = 24
