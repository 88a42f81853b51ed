# syntax=docker/dockerfile:1.7
# One image for all of the pipeline in the cloud: the steps on Vertex AI, the training jobs there,
# and Dataflow's workers.
#
#   make image IMAGE=REGION-docker.pkg.dev/PROJECT/REPOSITORY/pix2seq:1 [DEVICE=cuda]
#   docker run --rm --user pix2seq IMAGE python pipelines/run_pipeline.py --help
#
# make gives the arguments that pipelines/image_identity.py prints; the launcher compares them with
# its own code and packages before it submits a job. DEVICE=cuda is for JAX and TensorFlow on GPUs, DEVICE=tpu
# for JAX on TPUs.
#
# TFX's published image will not do: it has lost Beam's boot files and asks for the old Keras.

# Beam's worker program; of exactly the Beam and Python versions of requirements/runtime.txt.
ARG BEAM_VERSION=2.77.0
# "@sha256:…" of each image, which `make image` reads from requirements/images.json; `make pin-images`
# asks the registry for them. Without them the names decide.
ARG BEAM_DIGEST=""
ARG PYTHON_DIGEST=""
FROM apache/beam_python3.11_sdk:${BEAM_VERSION}${BEAM_DIGEST} AS beam

FROM python:3.11-slim-bookworm${PYTHON_DIGEST} AS packages
ARG DEVICE=cpu
# One package of the pinned file (pyfarmhash) has no wheel.
RUN apt-get update \
    && apt-get install --yes --no-install-recommends g++ \
    && rm -rf /var/lib/apt/lists/*
# These alone, so that no other file of that folder makes the packages be installed again.
COPY requirements/runtime.txt requirements/jax.txt requirements/cuda.txt requirements/tpu.txt \
    /tmp/requirements/
# Installed as pinned, without resolving: the pins override what some packages say of others.
RUN python -m venv /opt/venv \
    && extra=/tmp/requirements/$(case "$DEVICE" in cuda) echo cuda ;; tpu) echo tpu ;; \
        *) echo jax ;; esac).txt \
    && /opt/venv/bin/pip install --no-cache-dir --no-deps --require-hashes \
        -r /tmp/requirements/runtime.txt -r "$extra"
# What is in it, for whoever looks for known faults (CycloneDX).
COPY requirements/audit.txt /tmp/audit.txt
RUN python -m venv /tmp/audit \
    && /tmp/audit/bin/pip install --no-cache-dir --no-deps --require-hashes -r /tmp/audit.txt \
    && extra=/tmp/requirements/$(case "$DEVICE" in cuda) echo cuda ;; tpu) echo tpu ;; \
        *) echo jax ;; esac).txt \
    && cat /tmp/requirements/runtime.txt "$extra" > /tmp/installed.txt \
    && /tmp/audit/bin/cyclonedx-py requirements --output-format JSON \
        --output-file /opt/venv/sbom.cdx.json /tmp/installed.txt

FROM python:3.11-slim-bookworm${PYTHON_DIGEST}
COPY --from=beam /opt/apache/beam /opt/apache/beam
COPY --from=packages /opt/venv /opt/venv
# The platforms mount a GPU's driver below /usr/local/nvidia; without it no GPU is seen.
ENV PATH=/opt/venv/bin:$PATH:/usr/local/nvidia/bin \
    LD_LIBRARY_PATH=/usr/local/nvidia/lib:/usr/local/nvidia/lib64 \
    PYTHONPATH=/opt/pix2seq \
    PYTHONUNBUFFERED=1 \
    TF_CPP_MIN_LOG_LEVEL=2 \
    # Beam's workers run in the environment above, not in a new one at each start.
    RUN_PYTHON_SDK_IN_DEFAULT_ENVIRONMENT=1
# Vertex AI names the command of each step and job itself. A Dataflow worker is started with
# options alone and must end in Beam's boot program. Everything else is a command of yours.
COPY --chmod=755 <<'EOF' /usr/local/bin/start
#!/bin/sh
case "$1" in
  --*) exec /opt/apache/beam/boot "$@" ;;
  *) exec "$@" ;;
esac
EOF
# Dataflow's workers must write to folders of root's, so root is the image's user; give
# `--user pix2seq` where the image runs elsewhere.
RUN useradd --create-home --uid 1000 pix2seq
WORKDIR /opt/pix2seq
COPY pix2seq_model/ pix2seq_model/
COPY components/ components/
COPY configs/ configs/
COPY pipelines/ pipelines/
COPY requirements/runtime.txt requirements/
RUN python -m compileall -q pix2seq_model components configs pipelines
# Last, since they change with every commit. Without a folder of commits in the image, the commit
# that a model came from is told here.
ARG GIT_COMMIT=""
ARG REQUIREMENTS=""
ARG CODE=""
ENV GIT_COMMIT=${GIT_COMMIT}
LABEL pix2seq.requirements=${REQUIREMENTS} pix2seq.code=${CODE}
ENTRYPOINT ["/usr/local/bin/start"]
CMD ["python", "pipelines/run_pipeline.py", "--help"]
