"""Files and images, local or in a bucket, as Beam workers reach them."""
