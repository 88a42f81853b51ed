# `make help` lists the targets. Each installs what it needs into .venv on first use.

PYTHON ?= $(shell command -v python3.11 || command -v python3 || echo python3.11)
VENV := .venv
RUN := $(VENV)/bin/python
REQUIREMENTS := requirements/runtime.txt requirements/jax.txt requirements/onnx.txt requirements/video.txt requirements/dev.txt requirements/docs.txt
INSTALLED := $(VENV)/.installed
DEMO ?= demo
COCO_SAMPLE ?= ../shared/coco_sample
IMAGE ?= pix2seq:latest
DEVICE ?= cpu
MODEL ?= $(DEMO)/pipeline/serving_model
IMAGES ?= $(DEMO)/data/coco/val2017
GPU_PYTHON ?= 3.12
FUZZ_SECONDS ?= 600

export TF_CPP_MIN_LOG_LEVEL ?= 2

.PHONY: help env demo docs overfit ablation test test-large test-distributed test-runners test-use test-cloud test-image fuzz gpu-wheels image lint format requirements pin-images audit clean

help:  ## This list.
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## +/\t/' | expand -t 16

env: $(INSTALLED)  ## Install the pinned environment into .venv (once).

$(INSTALLED): $(REQUIREMENTS) requirements/install.py pyproject.toml
	@$(PYTHON) requirements/install.py --venv=$(VENV) $(REQUIREMENTS)
	@touch $@

demo: env  ## The main job end to end on generated images: data, training, COCO AP, pushed model.
	@$(RUN) pipelines/generate_demo_data.py --output=$(DEMO)/data
	@$(RUN) pipelines/run_pipeline.py --config=configs/demo.py --pipeline_root=$(DEMO)/pipeline

overfit: env  ## Overfit eight real photographs (COCO_SAMPLE: a folder in COCO 2017 layout).
	@$(RUN) pipelines/subset_dataset.py --num_images=8 --max_objects=7 \
	  --annotations=$(COCO_SAMPLE)/annotations/instances_train2017.json \
	  --output=$(DEMO)/overfit/instances.json
	@$(RUN) pipelines/run_pipeline.py --config=configs/overfit.py \
	  --pipeline_root=$(DEMO)/overfit/pipeline \
	  --config.data.finetune.images.train=$(COCO_SAMPLE)/images/train2017 \
	  --config.data.finetune.images.val=$(COCO_SAMPLE)/images/train2017 \
	  --config.data.finetune.annotations.train=$(DEMO)/overfit/instances.json \
	  --config.data.finetune.annotations.val=$(DEMO)/overfit/instances.json

docs: env  ## The documents as a site in build/site, every link checked; the tutorial's notebook.
	@$(RUN) -m tests.use.tutorial --write_notebook
	@NO_MKDOCS_2_WARNING=1 $(RUN) -m mkdocs build --strict --quiet
	@echo "build/site/index.html"

ablation: env  ## The paper's ablations on generated images, with a page (an hour of one core).
	@$(RUN) pipelines/run_ablation.py --config=configs/ablation.py --output=$(DEMO)/ablation

test: env  ## All tests that need nothing but this machine.
	@$(RUN) -m pytest -n auto --maxprocesses=4 --dist=loadfile \
	  --no-loadscope-reorder --durations=20

test-large: env  ## The published sizes and references, and each way to train, on both backends (minutes, 12 GB).
	@$(RUN) -m pytest -m large tests/pix2seq_model tests/benchmarks tests/components tests/pipelines tests/fuzz \
	  tests/test_tutorial_document.py

test-distributed: env  ## Two workers, and two devices, train like one: TensorFlow and JAX (minutes).
	@$(RUN) -m pytest -m distributed -s tests/pix2seq_model/training/test_distributed.py

test-runners: env  ## The conversion on every Beam runner; fetches Prism (Go), Flink (Maven).
	@$(RUN) tests/runners/install.py --output=build/runners
	@$(RUN) -m pytest -m "" -rs tests/runners tests/pipelines/test_killed_conversion.py

fuzz: env  ## Damaged inputs at every border, for FUZZ_SECONDS; a fault, a hang or 2 GB fails.
	@$(RUN) -m tests.fuzz.run --seconds=$(FUZZ_SECONDS)

test-use: env  ## One MODEL finds the same in IMAGES by every command, the SavedModel and the web page.
	@MODEL=$(MODEL) IMAGES=$(IMAGES) $(RUN) -m pytest -m use -s tests/use

test-cloud: env  ## Without a cloud account: the bucket, Vertex AI and Dataflow as stand-ins (needs Go).
	@$(RUN) -m tests.cloud.install --output=build/cloud
	@$(RUN) -m pytest -m cloud -rs tests

test-image: env  ## The Dockerfile's steps in a bare Debian, the demonstration in it (root; 15 GB).
	@$(RUN) -m pytest -m cloud -rs -s tests/cloud/image

gpu-wheels: env  ## What benchmarks/gpu.sh needs besides JAX, for a machine with Python GPU_PYTHON.
	@$(RUN) -m benchmarks.gpu.wheels --python=$(GPU_PYTHON) --output=build/gpu/wheels

image:  ## Build the container image and check it (needs Docker). IMAGE=..., DEVICE=cuda or tpu.
	@command -v docker > /dev/null && docker version > /dev/null 2>&1 || \
	  { echo "No Docker here; \`make test-image\` carries out the Dockerfile's steps without."; exit 2; }
	docker build $$($(PYTHON) pipelines/image_identity.py) --build-arg DEVICE=$(DEVICE) -t $(IMAGE) .
	docker run --rm --user pix2seq $(IMAGE) python pipelines/run_pipeline.py --help > /dev/null
	docker run --rm $(IMAGE) python -c "import components.custom_job_trainer, components.example_gen"
	docker run --rm $(IMAGE) python -m tfx.scripts.run_executor --help > /dev/null
	docker run --rm $(IMAGE) --id=1 --provision_endpoint=localhost:1 2>&1 | grep -q provisioning

lint: env  ## Style, format, the rooms' imports and types, as the continuous integration checks them.
	@$(RUN) -m ruff check .
	@$(RUN) -m ruff format --check .
	@$(VENV)/bin/lint-imports
	@$(RUN) -m mypy

format: env  ## Fix style and format.
	@$(RUN) -m ruff check --fix .
	@$(RUN) -m ruff format .

requirements:  ## Pin the environment again from requirements/*.in (needs uv).
	@for part in runtime jax onnx video loggers cuda tpu dev docs uv audit; do \
	  uv pip compile requirements/$$part.in --override requirements/overrides.txt --upgrade --quiet --generate-hashes \
	    --python-version 3.11 --python-platform x86_64-manylinux_2_$$([ $$part = tpu ] && echo 31 || echo 28) \
	    --no-emit-index-url --no-annotate \
	    --custom-compile-command "make requirements" -o requirements/$$part.txt; done

pin-images:  ## Ask the registry for the base images' digests, into requirements/images.json.
	@$(PYTHON) requirements/pin_images.py

audit:  ## Known faults in the pinned packages, where their list can be reached (PyPI, then OSV).
	@$(PYTHON) requirements/audit.py --venv=build/audit

clean:  ## Remove the demonstration's data and results (not .venv).
	rm -rf $(DEMO)
