output "bucket" {
  value = "gs://${google_storage_bucket.runs.name}"
}

output "image" {
  description = "Name for the image: make image IMAGE=... DEVICE=cuda && docker push ..."
  value       = "${var.region}-docker.pkg.dev/${var.project}/pix2seq/pix2seq:1"
}

output "service_account" {
  description = "For --config.cloud.service_account"
  value       = google_service_account.jobs.email
}
