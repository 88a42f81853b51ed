variable "project" {
  description = "Id of a project that exists and has a billing account."
  type        = string
}

variable "region" {
  description = "Where bucket, image and jobs are; accelerators are not in every region."
  type        = string
  default     = "europe-west4"
}

variable "bucket" {
  description = "Name of the bucket to make for data and runs."
  type        = string
}

variable "account_name" {
  description = "Name of the jobs' service account, before the @."
  type        = string
  default     = "pix2seq"
}

variable "submitters" {
  description = "Who may submit runs, as [\"user:somebody@example.com\", \"group:vision@example.com\"]."
  type        = list(string)
  default     = []
}

variable "runs" {
  description = "Folders of runs in the bucket whose temporary files and checkpoints are deleted in time."
  type        = list(string)
  default     = []
}

variable "keep_checkpoints_days" {
  description = "Days until checkpoints in training/ of the runs are deleted; the models stay."
  type        = number
  default     = 90
}

variable "billing_account" {
  description = "Id of the billing account, for the budget's alerts; empty: no budget."
  type        = string
  default     = ""
}

variable "budget" {
  description = "Amount a month, in the billing account's currency, of which 50, 90 and 100 % are mailed."
  type        = number
  default     = 500
}
