"""What a data set is: annotations, images, defects, records and their manifest."""
