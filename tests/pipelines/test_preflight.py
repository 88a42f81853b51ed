"""Each thing that can be missing on Google Cloud is found, and named with what mends it."""

import pytest
import requests

from pipelines.preflight import Endpoints, preflight, requirements_digest
from pipelines.request import Request
from pipelines.vertex_job import on_cloud
from pix2seq_model.experiment import load_config
from tests.pipelines.stand_in import stand_in

SERVICES = ("aiplatform", "artifactregistry", "compute", "dataflow", "storage")
QUOTA = (
    "GET /v1beta1/projects/p/services/aiplatform.googleapis.com/consumerQuotaMetrics/"
    "aiplatform.googleapis.com%2Fcustom_model_training_nvidia_a100_gpus"
)
MANIFEST = "GET /v2/p/r/pix2seq/manifests/1"
CONFIG = "GET /v2/p/r/pix2seq/blobs/sha256:c"


def services(**states):
    rows = [
        {"config": {"name": f"{name}.googleapis.com"}, "state": states.get(name, "ENABLED")}
        for name in SERVICES
    ]
    return 200, {"services": rows}


def quota(limit, region="europe-west4"):
    bucket = {"effectiveLimit": str(limit), "dimensions": {"region": region}}
    return 200, {"consumerQuotaLimits": [{"quotaBuckets": [bucket]}]}


def labelled(digest):
    return 200, {"config": {"Labels": {"pix2seq.requirements": digest}}}


@pytest.fixture
def google():
    """A project in which nothing is missing."""
    with stand_in() as service:
        service.answers = {
            "GET /v1/projects/p/services:batchGet": services(),
            "GET /storage/v1/b/bucket": (200, {"location": "EUROPE-WEST4"}),
            "GET /storage/v1/b/bucket/iam/testPermissions": (
                200,
                {
                    "permissions": [
                        f"storage.objects.{verb}" for verb in ("create", "delete", "get")
                    ]
                },
            ),
            MANIFEST: (200, {"config": {"digest": "sha256:c"}}),
            CONFIG: labelled(requirements_digest()),
            QUOTA: quota(8),
            "POST /v1/projects/p:testIamPermissions": lambda asked: (200, asked),
            "POST /v1/projects/-/serviceAccounts/s@p.iam:testIamPermissions": lambda asked: (
                200,
                asked,
            ),
        }
        yield service


def findings(google, *overrides):
    overrides = ("cloud.service_account=s@p.iam", *overrides)
    request = Request(
        config=load_config("configs/full.py", overrides),
        config_name="configs/full.py",
        overrides=overrides,
        pipeline_root="gs://bucket/root",
        beam_args=("--project=p", "--region=europe-west4"),
    )
    request = on_cloud(request, image=f"{google.address.removeprefix('http://')}/p/r/pix2seq:1")
    at = google.address
    return preflight(
        request,
        session=requests.Session(),
        endpoints=Endpoints(
            service_usage=at,
            storage=at,
            resource_manager=at,
            iam=at,
            registry_scheme="http",
        ),
    )


def test_nothing_is_missing(google):
    assert findings(google) == []


@pytest.mark.parametrize(
    ("answer", "what", "mend"),
    [
        (
            {"GET /v1/projects/p/services:batchGet": services(dataflow="DISABLED")},
            "services that are not enabled: dataflow.googleapis.com",
            "gcloud services enable dataflow.googleapis.com --project=p",
        ),
        (
            {"GET /v1/projects/p/services:batchGet": (403, {"error": {"message": "denied"}})},
            "project p cannot be looked at: 403 denied",
            "gcloud projects describe p",
        ),
        (
            {"GET /storage/v1/b/bucket": None},
            "there is no bucket gs://bucket",
            "gcloud storage buckets create gs://bucket --location=europe-west4",
        ),
        (
            {"GET /storage/v1/b/bucket": (200, {"location": "US-CENTRAL1"})},
            "gs://bucket lies in us-central1, the job runs in europe-west4",
            "--region=us-central1",
        ),
        (
            {"GET /storage/v1/b/bucket/iam/testPermissions": (200, {})},
            "on gs://bucket you lack storage.objects.create",
            "--role=roles/storage.objectAdmin",
        ),
        ({MANIFEST: None}, "cannot be read: 404", "docker push"),
        ({CONFIG: labelled("other")}, "other packages than these (other, here", "docker build"),
        ({CONFIG: (200, {"config": {}})}, "(no label, here", "REQUIREMENTS="),
        (
            {QUOTA: quota(0)},
            "asks for 1 NVIDIA_TESLA_A100, the quota in europe-west4 is 0",
            "Quota",
        ),
        ({QUOTA: quota(8, "us-east1")}, "the quota of NVIDIA_TESLA_A100", "Quota"),
        (
            {"POST /v1/projects/p:testIamPermissions": (200, {})},
            "you lack what roles/aiplatform.user grants",
            "gcloud projects add-iam-policy-binding p",
        ),
        (
            {"POST /v1/projects/-/serviceAccounts/s@p.iam:testIamPermissions": (200, {})},
            "you may not start jobs as s@p.iam",
            "--role=roles/iam.serviceAccountUser",
        ),
    ],
)
def test_what_is_missing_is_found(google, answer, what, mend):
    google.answers |= answer
    found = findings(google)
    assert any(what in finding.what and mend in finding.mend for finding in found), found


def test_a_continents_bucket_serves_its_regions(google):
    google.answers["GET /storage/v1/b/bucket"] = (200, {"location": "EU"})
    assert findings(google) == []


def test_unlimited_quota(google):
    google.answers[QUOTA] = quota(-1)
    assert findings(google) == []


def test_an_image_behind_an_index(google):
    """Docker pushes an index with the image and its provenance."""
    google.answers[MANIFEST] = (
        200,
        {
            "manifests": [
                {"digest": "sha256:x", "platform": {"architecture": "unknown"}},
                {"digest": "sha256:m", "platform": {"architecture": "amd64"}},
            ]
        },
    )
    google.answers["GET /v2/p/r/pix2seq/manifests/sha256:m"] = (
        200,
        {"config": {"digest": "sha256:c"}},
    )
    assert findings(google) == []


def test_without_accelerators_no_quota_is_asked_for(google):
    assert findings(google, "cloud.training.accelerator_count=0") == []
    assert not [path for _, path, _ in google.asked if "consumerQuotaMetrics" in path]


def test_no_answer_is_a_finding(google):
    request_address = google.address
    google.address = "http://127.0.0.1:9"
    found = findings(google)
    google.address = request_address
    assert found
    assert all("no answer" in finding.what for finding in found)


def test_no_credentials(monkeypatch, tmp_path):
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(tmp_path / "none.json"))
    found = preflight(None)
    assert found[0].mend == "gcloud auth application-default login"
