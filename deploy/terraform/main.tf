# What docs/cloud.md makes by hand: services, bucket, registry, service account, roles, budget.

locals {
  # The list that the check before a submission reads too.
  access = jsondecode(file("${path.module}/../../pipelines/vertex/access.json"))
  member = "serviceAccount:${google_service_account.jobs.email}"

  roles = {
    for place in ["you/project", "you/bucket", "you/account", "account/project", "account/bucket", "account/account"] :
    place => [for row in local.access.roles : row.role if "${row.who}/${row.on}" == place]
  }
}

resource "google_project_service" "needed" {
  for_each = toset(concat(local.access.services, local.access.dataflow_services))

  service            = each.value
  disable_on_destroy = false # Others in the project may use it.
}

resource "google_storage_bucket" "runs" {
  name                        = var.bucket
  location                    = var.region
  uniform_bucket_level_access = true

  # Every temporary file and every old checkpoint would be kept, and paid, for a week more.
  soft_delete_policy {
    retention_duration_seconds = 0
  }

  lifecycle_rule {
    action {
      type = "AbortIncompleteMultipartUpload"
    }
    condition {
      age = 2
    }
  }

  dynamic "lifecycle_rule" {
    for_each = length(var.runs) > 0 ? [1] : []
    content {
      action {
        type = "Delete"
      }
      condition {
        age            = 7
        matches_prefix = [for run in var.runs : "${trimsuffix(run, "/")}/beam_temp/"]
      }
    }
  }

  dynamic "lifecycle_rule" {
    for_each = length(var.runs) > 0 ? [1] : []
    content {
      action {
        type = "Delete"
      }
      condition {
        age            = var.keep_checkpoints_days
        matches_prefix = [for run in var.runs : "${trimsuffix(run, "/")}/training/"]
      }
    }
  }

  depends_on = [google_project_service.needed]
}

resource "google_artifact_registry_repository" "images" {
  repository_id = "pix2seq"
  location      = var.region
  format        = "DOCKER"

  depends_on = [google_project_service.needed]
}

resource "google_service_account" "jobs" {
  account_id   = var.account_name
  display_name = "Steps, training and conversion of Pix2Seq pipelines"

  depends_on = [google_project_service.needed]
}

resource "google_project_iam_member" "account" {
  for_each = toset(local.roles["account/project"])

  project = var.project
  role    = each.value
  member  = local.member
}

# TensorFlow asks for the bucket itself before it makes the first folder in it.
resource "google_storage_bucket_iam_member" "account" {
  for_each = toset(local.roles["account/bucket"])

  bucket = google_storage_bucket.runs.name
  role   = each.value
  member = local.member
}

# Steps start custom jobs and the conversion as the account that they run as.
resource "google_service_account_iam_member" "account_as_itself" {
  for_each = toset(local.roles["account/account"])

  service_account_id = google_service_account.jobs.name
  role               = each.value
  member             = local.member
}

resource "google_project_iam_member" "submitter" {
  for_each = { for pair in setproduct(var.submitters, local.roles["you/project"]) : join(" ", pair) => pair }

  project = var.project
  member  = each.value[0]
  role    = each.value[1]
}

resource "google_storage_bucket_iam_member" "submitter" {
  for_each = { for pair in setproduct(var.submitters, local.roles["you/bucket"]) : join(" ", pair) => pair }

  bucket = google_storage_bucket.runs.name
  member = each.value[0]
  role   = each.value[1]
}

resource "google_service_account_iam_member" "submitter" {
  for_each = { for pair in setproduct(var.submitters, local.roles["you/account"]) : join(" ", pair) => pair }

  service_account_id = google_service_account.jobs.name
  member             = each.value[0]
  role               = each.value[1]
}

resource "google_project_service" "budgets" {
  count = var.billing_account == "" ? 0 : 1

  service            = "billingbudgets.googleapis.com"
  disable_on_destroy = false
}

resource "google_billing_budget" "alert" {
  count = var.billing_account == "" ? 0 : 1

  billing_account = var.billing_account
  display_name    = "Pix2Seq in ${var.project}"

  budget_filter {
    projects = ["projects/${data.google_project.this.number}"]
  }

  amount {
    specified_amount {
      units = tostring(var.budget)
    }
  }

  dynamic "threshold_rules" {
    for_each = [0.5, 0.9, 1.0]
    content {
      threshold_percent = threshold_rules.value
    }
  }

  depends_on = [google_project_service.budgets]
}

data "google_project" "this" {
  project_id = var.project
}
