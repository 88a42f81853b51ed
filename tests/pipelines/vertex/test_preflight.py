"""Each thing that can be missing on Google Cloud is found, and named with what fixes it."""

from types import SimpleNamespace

import pytest
import requests

from pipelines.image_identity import code_digest, requirements_digest
from pipelines.request import Request
from pipelines.vertex import access
from pipelines.vertex import preflight as vertex_preflight
from pipelines.vertex.findings import Endpoints, Finding
from pipelines.vertex.image import check_image
from pipelines.vertex.job import on_cloud
from pipelines.vertex.preflight import preflight
from pix2seq_model.experiment import load_config
from tests.fixtures.stand_in import stand_in

SERVICES = [name.partition(".")[0] for name in access.services(dataflow=True)]
QUOTAS = (
    "GET /v1beta1/projects/p/services/aiplatform.googleapis.com/consumerQuotaMetrics/"
    "aiplatform.googleapis.com%2Fcustom_model_"
)
QUOTA = f"{QUOTAS}training_nvidia_a100_gpus"
T4_QUOTA = f"{QUOTAS}training_nvidia_t4_gpus"
LOCATIONS = "GET /v1/projects/p/locations"
POLICY = "POST /v1/projects/p:getIamPolicy"
ACCOUNT_POLICY = "POST /v1/projects/-/serviceAccounts/s@p.iam:getIamPolicy"
BUCKET_POLICY = "GET /storage/v1/b/bucket/iam"
ROLES = (
    *("aiplatform.user", "storage.objectAdmin", "artifactregistry.reader"),
    *("dataflow.developer", "dataflow.worker"),
)
DATAFLOW = ("--runner=DataflowRunner",)
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


def labelled(**changed):
    labels = {"requirements": requirements_digest(), "code": code_digest(), **changed}
    return 200, {"config": {"Labels": {f"pix2seq.{k}": v for k, v in labels.items()}}}


def policy(*roles, account="s@p.iam"):
    rows = [{"role": f"roles/{r}", "members": [f"serviceAccount:{account}"]} for r in roles]
    return 200, {"bindings": rows}


def project_answers():
    """What a project says in which nothing is missing."""
    return {
        "GET /v1/projects/p/services:batchGet": services(),
        "GET /storage/v1/b/bucket": (200, {"location": "EUROPE-WEST4"}),
        "GET /storage/v1/b/bucket/iam/testPermissions": (
            200,
            {"permissions": [f"storage.objects.{verb}" for verb in ("create", "delete", "get")]},
        ),
        BUCKET_POLICY: policy("storage.legacyBucketReader"),
        MANIFEST: (200, {"config": {"digest": "sha256:c"}}),
        CONFIG: labelled(),
        QUOTA: quota(8),
        T4_QUOTA: quota(1),
        LOCATIONS: (200, {"locations": [{"locationId": "europe-west4"}]}),
        POLICY: policy(*ROLES),
        ACCOUNT_POLICY: policy("iam.serviceAccountUser"),
        "GET /v1/projects/p": (200, {"projectNumber": "12"}),
        "POST /v1/projects/p:testIamPermissions": lambda asked: (200, asked),
        "POST /v1/projects/-/serviceAccounts/s@p.iam:testIamPermissions": lambda asked: (
            200,
            asked,
        ),
    }


@pytest.fixture
def google():
    with stand_in() as service:
        service.answers = project_answers()
        yield service


@pytest.fixture(autouse=True)
def _stages_fit(monkeypatch):
    """Nothing is traced here; `test_fit.py` has this check."""
    monkeypatch.setattr(vertex_preflight, "check_fit", lambda request: iter(()))


def findings(google, *overrides, beam_args=DATAFLOW, session=None):
    overrides = ("cloud.service_account=s@p.iam", *overrides)
    request = Request(
        config=load_config("configs/full.py", overrides),
        config_name="configs/full.py",
        overrides=overrides,
        pipeline_root="gs://bucket/root",
        beam_args=("--project=p", "--region=europe-west4", *beam_args),
    )
    request = on_cloud(request, image=f"{google.address.removeprefix('http://')}/p/r/pix2seq:1")
    at = google.address
    return preflight(
        request,
        session=session or requests.Session(),
        endpoints=Endpoints(
            vertex=at,
            service_usage=at,
            storage=at,
            resource_manager=at,
            iam=at,
            registry_scheme="http",
            googles_registries=(at.removeprefix("http://"),),
        ),
    )


def test_nothing_is_missing(google):
    assert findings(google) == []


def test_a_stage_that_does_not_fit_is_found(google, monkeypatch):
    found = Finding(what="finetune does not fit", fix="--config.finetune.accumulation_steps=2")
    monkeypatch.setattr(vertex_preflight, "check_fit", lambda request: iter([found]))
    assert findings(google) == [found]


@pytest.mark.parametrize(
    ("answer", "what", "fix"),
    [
        (
            {"GET /v1/projects/p/services:batchGet": services(dataflow="DISABLED")},
            "services that are not enabled: dataflow.googleapis.com",
            "gcloud services enable dataflow.googleapis.com --project=p",
        ),
        (
            {"GET /v1/projects/p/services:batchGet": (403, {"error": {"message": "denied"}})},
            "which services are enabled cannot be read: 403 denied",
            "gcloud services enable aiplatform.googleapis.com artifactregistry",
        ),
        (
            {"GET /storage/v1/b/bucket/iam/testPermissions": None},
            "there is no bucket gs://bucket",
            "gcloud storage buckets create gs://bucket --location=europe-west4",
        ),
        (
            {"GET /storage/v1/b/bucket": (200, {"location": "US-CENTRAL1"})},
            "gs://bucket is in us-central1, the job runs in europe-west4",
            "--region=us-central1",
        ),
        (
            {"GET /storage/v1/b/bucket/iam/testPermissions": (200, {})},
            "on gs://bucket you lack storage.objects.create",
            "--role=roles/storage.objectAdmin",
        ),
        ({MANIFEST: None}, "cannot be read: 404", "docker push"),
        (
            {CONFIG: labelled(requirements="other")},
            "was built with other packages than here (other, here",
            "make image IMAGE=",
        ),
        ({CONFIG: labelled(code="old")}, "with other code than here (old, here", "make image"),
        ({CONFIG: (200, {"config": {}})}, "(no label, here", "docker push"),
        (
            {QUOTA: quota(0)},
            "asks for 1 NVIDIA_TESLA_A100, the quota in europe-west4 is 0",
            "Quota",
        ),
        ({QUOTA: quota(8, "us-east1")}, "the quota of NVIDIA_TESLA_A100", "Quota"),
        (
            {T4_QUOTA: quota(0)},
            "evaluation asks for 1 NVIDIA_TESLA_T4",
            "cloud.evaluation.accelerator_count",
        ),
        (
            {LOCATIONS: (200, {"locations": [{"locationId": "europe-west1"}]})},
            "Vertex AI is not in a region 'europe-west4'",
            "one of europe-west1",
        ),
        ({LOCATIONS: None}, "cannot be listed", "gcloud ai locations list"),
        (
            {POLICY: policy(*ROLES[1:])},
            "does not give the jobs' service account s@p.iam roles/aiplatform.user",
            "--member=serviceAccount:s@p.iam --role=roles/aiplatform.user",
        ),
        ({POLICY: policy(*ROLES[:4])}, "s@p.iam roles/dataflow.worker", "roles/dataflow.worker"),
        (
            {ACCOUNT_POLICY: policy()},
            "s@p.iam may not be able to start jobs as itself (roles/iam.serviceAccountUser",
            "gcloud iam service-accounts add-iam-policy-binding s@p.iam "
            "--member=serviceAccount:s@p.iam --role=roles/iam.serviceAccountUser --project=p",
        ),
        ({POLICY: (403, {})}, "cannot be read: 403", "get-iam-policy p"),
        (
            {BUCKET_POLICY: policy("storage.objectAdmin")},
            "s@p.iam may not be able to make folders in gs://bucket",
            "gcloud storage buckets add-iam-policy-binding gs://bucket "
            "--member=serviceAccount:s@p.iam --role=roles/storage.legacyBucketReader",
        ),
        (
            {"POST /v1/projects/-/serviceAccounts/s@p.iam:testIamPermissions": None},
            "there is no service account s@p.iam",
            "gcloud iam service-accounts create s --project=p",
        ),
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
def test_what_is_missing_is_found(google, answer, what, fix):
    google.answers |= answer
    found = findings(google)
    assert any(what in finding.what and fix in finding.fix for finding in found), found


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
    none = ("cloud.training.accelerator_count=0", "cloud.evaluation.accelerator_count=0")
    assert findings(google, *none) == []
    assert not [path for _, path, _ in google.asked if "consumerQuotaMetrics" in path]


def test_what_cannot_be_found_out_does_not_block(google):
    """As for someone who may read neither policies nor the bucket's description, and has all."""
    google.answers |= {
        LOCATIONS: None,
        POLICY: (403, {}),
        QUOTA: (403, {}),
        "GET /storage/v1/b/bucket": (403, {"error": {"message": "no storage.buckets.get"}}),
        "GET /v1/projects/p/services:batchGet": (403, {}),
        "POST /v1/projects/-/serviceAccounts/s@p.iam:testIamPermissions": (403, {}),
        "POST /v1/projects/p:testIamPermissions": (403, {}),
    }
    found = findings(google)
    assert len(found) == 10
    assert not any(finding.blocks for finding in found)


@pytest.mark.parametrize(
    "bindings",
    [
        [{"role": "organizations/1/roles/ours", "members": ["serviceAccount:s@p.iam"]}],
        [{"role": "roles/aiplatform.user", "members": ["group:jobs@p"]}],
        [],
    ],
)
def test_roles_that_a_policy_does_not_show_do_not_block(bindings, google):
    """Custom roles, groups, and what a folder or the organization grants."""
    google.answers[POLICY] = 200, {"bindings": bindings}
    found = findings(google)
    assert len(found) == len(ROLES)
    assert not any(finding.blocks for finding in found)
    assert "a group or a custom role are not seen here" in found[0].what


def disabled(service):
    """What Google answers, word for word in its fields, where a service is not enabled."""
    metadata = {"service": f"{service}.googleapis.com", "consumer": "projects/12"}
    detail = {"reason": "SERVICE_DISABLED", "domain": "googleapis.com", "metadata": metadata}
    return 403, {
        "error": {"message": "disabled", "status": "PERMISSION_DENIED", "details": [detail]}
    }


@pytest.mark.parametrize(
    ("asked", "service"),
    [
        ("GET /v1/projects/p/services:batchGet", "serviceusage"),
        (QUOTA, "serviceusage"),
        ("POST /v1/projects/p:testIamPermissions", "cloudresourcemanager"),
        ("POST /v1/projects/-/serviceAccounts/s@p.iam:testIamPermissions", "iam"),
        (LOCATIONS, "aiplatform"),
    ],
)
def test_a_service_that_is_not_enabled_is_no_lack_of_roles(asked, service, google):
    google.answers[asked] = disabled(service)
    (found,) = findings(google)
    assert found.what == f"service {service}.googleapis.com is not enabled"
    assert found.fix == f"gcloud services enable {service}.googleapis.com --project=p"
    assert found.blocks


def test_without_dataflow_nothing_is_asked_of_it(google):
    google.answers |= {
        POLICY: policy(*ROLES[:3]),
        "GET /v1/projects/p/services:batchGet": services(dataflow="ENABLED"),
    }
    assert findings(google, beam_args=("--runner=DirectRunner",)) == []
    assert not [asked for asked in google.asked if "dataflow" in str(asked)]


def test_an_editor_may_all(google):
    google.answers[POLICY] = policy("editor")
    assert findings(google) == []


def test_the_default_service_account_is_looked_at(google):
    account = "12-compute@developer.gserviceaccount.com"
    google.answers[POLICY] = policy(*ROLES, "iam.serviceAccountUser", account=account)
    google.answers[BUCKET_POLICY] = policy("storage.legacyBucketReader", account=account)
    assert findings(google, "cloud.service_account=") == []
    google.answers[POLICY] = policy(*ROLES)
    assert "12-compute@developer" in findings(google, "cloud.service_account=")[0].what


def test_spot_machines_have_a_quota_of_their_own(google):
    google.answers[f"{QUOTAS}training_preemptible_nvidia_a100_gpus"] = quota(3)
    found = findings(google, "cloud.training.strategy=spot", "cloud.training.worker_count=4")
    assert ["training asks for 4 NVIDIA_TESLA_A100" in f.what for f in found] == [True]


def test_a_quota_that_may_be_another_one_does_not_block(google):
    google.answers[f"{QUOTAS}training_nvidia_a100_gpus"] = quota(0)
    assert [f.blocks for f in findings(google, "cloud.training.strategy=flex_start")] == [False]


def test_tpus_have_a_quota_of_their_own(google):
    google.answers[f"{QUOTAS}training_tpu_v5e"] = quota(4)
    overrides = ("accelerator_count=8", "machine_type=ct5lp-hightpu-8t", "tpu_topology=2x4")
    found = findings(google, *(f"cloud.training.{text}" for text in overrides))
    assert "training asks for 8 tpu_v5e, the quota in europe-west4 is 4" in [f.what for f in found]


def test_an_endpoints_accelerators_count_too(google):
    google.answers[f"{QUOTAS}serving_nvidia_t4_gpus"] = quota(1)
    overrides = ("push.endpoint.name=e", "push.endpoint.accelerator_count=1")
    assert findings(google, *overrides) == []
    found = findings(google, *overrides, "push.endpoint.max_replicas=2")
    assert "the endpoint asks for 2 NVIDIA_TESLA_T4" in found[0].what


def test_other_registries_get_no_token(google):
    """The user's credentials go to Google alone."""
    with stand_in() as registry:
        registry.answers = {MANIFEST: google.answers[MANIFEST], CONFIG: labelled()}
        session = requests.Session()
        session.headers["Authorization"] = "Bearer planted"
        image = f"{registry.address.removeprefix('http://')}/p/r/pix2seq:1"
        at = Endpoints(registry_scheme="http")
        assert list(check_image(image, session, at)) == []
        assert len(registry.asked) == 2
        assert not any("Authorization" in headers for headers in registry.headers)
        own = Endpoints(registry_scheme="http", googles_registries=(image.partition("/")[0],))
        assert list(check_image(image, session, own)) == []
        assert registry.headers[-1]["Authorization"] == "Bearer planted"


def test_no_answer_is_a_finding(google):
    request_address = google.address
    google.address = "http://127.0.0.1:9"
    found = findings(google)
    google.address = request_address
    assert found
    assert all("no answer" in finding.what for finding in found)


def test_no_credentials(monkeypatch, tmp_path):
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(tmp_path / "none.json"))
    found = preflight(SimpleNamespace(target=SimpleNamespace(project="p")))
    assert found[0].fix == "gcloud auth application-default login"
