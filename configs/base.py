"""Every setting of an experiment; the other configs start here.

The defaults are those of Pix2Seq (Chen et al., arXiv:2109.10852) and of its published checkpoints.
"""

import dataclasses

from ml_collections import ConfigDict

from pix2seq_model.network.config import ModelConfig
from pix2seq_model.tokens.vocabulary import Vocabulary

# Images of the training splits, from which steps per epoch follow.
COCO_TRAIN_IMAGES = 118_287
OBJECTS365_TRAIN_IMAGES = 1_742_289


def get_config() -> ConfigDict:
    config = ConfigDict()
    config.name = "base"
    config.seed = 0

    config.vocabulary = ConfigDict(dataclasses.asdict(Vocabulary()))
    config.model = model("vit_b")

    config.data = ConfigDict()
    config.data.pretrain = data_source("objects365")
    config.data.finetune = data_source("coco")

    config.pretrain = stage()
    config.finetune = stage()

    config.evaluation = evaluation()
    config.push = push()
    config.cloud = cloud()
    return config


def model(published_name: str) -> ConfigDict:
    """A published architecture; the image size belongs to the stages."""
    fields = dataclasses.asdict(ModelConfig.published(published_name))
    del fields["image_size"]
    return ConfigDict(fields)


def data_source(data_format: str) -> ConfigDict:
    """One data set on disk, before conversion."""
    source = ConfigDict()
    source.format = data_format  # objects365, coco or coco_format
    # A split is converted if both its places are given. Folders (or archives) of images ...
    source.images = ConfigDict({"train": "", "val": ""})
    # ... and annotation files.
    source.annotations = ConfigDict({"train": "", "val": ""})
    source.num_shards = ConfigDict({"train": 0, "val": 0})  # 0: by size, about 128 MB each
    # Share of a split's images or boxes that may be set aside before the conversion fails.
    source.max_defect_fraction = 0.2
    # Objects365 marks boxes of pictures of objects, and of objects in mirrors; both are kept.
    source.drop_fake = False
    source.drop_reflected = False
    return source


def stage() -> ConfigDict:
    """One training stage."""
    stage = ConfigDict()
    stage.enabled = True
    # Model folder, or checkpoint in the published layout, to take the weights from; empty: the
    # stage before, or random weights.
    stage.start_from = ""
    stage.split = "train"
    stage.image_size = (640, 640)  # height, width in pixels
    stage.batch_size = 128  # over all devices and hosts
    stage.steps = 100_000
    stage.learning_rate = 1e-4
    stage.schedule = "linear"  # after warm-up: linear, cosine or constant
    stage.warmup_steps = 0
    stage.end_factor = 0.01  # of the learning rate, at the last step
    stage.weight_decay = 0.05
    # Regular expressions; weights whose path matches one do not decay, as ("bias", "norm").
    stage.weight_decay_exclude = ()
    stage.beta_2 = 0.95
    stage.clip_norm = 0.0  # 0: off
    stage.ema_decay = 0.0  # 0: off
    stage.label_smoothing = 0.0
    # Batches whose gradients are added up for one step, batch_size being all of them together.
    stage.accumulation_steps = 1
    # Batches with a loss or gradient that is not finite, after which training stops.
    stage.max_skipped_batches = 20
    stage.precision = "float32"  # or mixed_bfloat16
    # Computes the activations inside layers again for the gradients: less memory, more time.
    stage.activation_checkpointing = False
    # auto, on or off. Auto is XLA, also on a CPU, where TensorFlow trains large networks faster
    # without it.
    stage.jit_compile = "auto"
    stage.steps_per_log = 100
    stage.checkpoint_every_steps = 1000
    stage.checkpoint_every_minutes = 15.0  # 0: off
    stage.keep_checkpoints = 3
    # Short evaluations while training, on images of evaluation.split; a multiple of steps_per_log.
    stage.evaluate_every_steps = 0  # 0: off
    stage.evaluate_images = 64
    stage.keep_best = False  # the weights of the best of them instead of the last
    stage.shuffle_buffer = 2048  # examples

    stage.augmentation = ConfigDict()
    stage.augmentation.scale_min = 0.3
    stage.augmentation.scale_max = 2.0
    stage.augmentation.flip = True

    stage.sequence = ConfigDict()
    stage.sequence.max_objects = 100
    stage.sequence.order = "random"
    stage.sequence.noise_objects = True
    stage.sequence.class_corruption = "rand_n_fake_cls"
    stage.sequence.padding_weight = 0.1
    stage.sequence.near_duplicate_std = 0.05  # of a box's own height and width
    return stage


def evaluation() -> ConfigDict:
    evaluation = ConfigDict()
    evaluation.split = "val"
    evaluation.batch_size = 16
    evaluation.max_objects = 100
    evaluation.top_k = 0  # 0: off
    evaluation.top_p = 0.4
    evaluation.temperature = 1.0
    evaluation.end_token_offset = 0.0
    evaluation.seed = 0
    evaluation.precision = "float32"  # of decoding; or bfloat16
    # Detect with the workers of a Beam job, with the same arguments as the conversion.
    evaluation.on_beam = False
    # Blessing: every metric named here must be reached ...
    evaluation.min_metrics = ConfigDict({"AP": 0.0})
    # ... and none named here may fall further than this below the model blessed before.
    evaluation.max_regression = ConfigDict({"AP": 0.0})
    evaluation.num_pictures = 24  # in the report
    evaluation.num_attention_pictures = 2  # images in it with what the decoder looks at
    return evaluation


def push() -> ConfigDict:
    """Where a blessed model goes."""
    push = ConfigDict()
    push.destination = ""  # folder or bucket; empty: <pipeline_root>/serving_model
    # A Vertex AI endpoint that serves the pushed model too.
    push.endpoint = ConfigDict()
    push.endpoint.name = ""  # made if absent; empty: none
    push.endpoint.project = ""  # empty: that of the job
    push.endpoint.region = ""  # empty: that of the job
    push.endpoint.machine_type = "n1-standard-4"
    push.endpoint.accelerator_type = "NVIDIA_TESLA_T4"
    push.endpoint.accelerator_count = 0
    push.endpoint.min_replicas = 1
    push.endpoint.max_replicas = 1
    # What serves the SavedModel: one of Vertex AI's own images, or TensorFlow Serving's.
    push.endpoint.serving_image = "europe-docker.pkg.dev/vertex-ai/prediction/tf2-cpu.2-15:latest"
    return push


def cloud() -> ConfigDict:
    """Machines of a Vertex AI run; unused on a laptop."""
    cloud = ConfigDict()
    cloud.service_account = ""  # that all jobs run as; empty: the project's default
    # On every job: as --config.cloud.labels.team=vision.
    cloud.labels = ConfigDict({"pipeline": "pix2seq"})

    # The conversion, with --runner=DataflowRunner. Flags of Beam's own go before these.
    cloud.dataflow = ConfigDict()
    cloud.dataflow.image = ""  # empty: that of the steps
    cloud.dataflow.region = ""  # empty: that of the job
    cloud.dataflow.machine_type = "n2-standard-4"
    cloud.dataflow.max_num_workers = 20
    cloud.dataflow.disk_size_gb = 50  # of each worker

    # Each training stage is a custom job.
    cloud.training = ConfigDict()
    cloud.training.machine_type = "a2-highgpu-1g"
    cloud.training.accelerator_type = "NVIDIA_TESLA_A100"
    cloud.training.accelerator_count = 1  # of each worker
    cloud.training.worker_count = 1
    cloud.training.disk_size_gb = 200  # of each worker
    cloud.training.spot = False  # cheaper machines that can be taken away
    # Start the job again when a worker restarts; it goes on from its checkpoints.
    cloud.training.restart = True
    cloud.training.max_days = 7.0

    cloud.evaluation = ConfigDict()
    cloud.evaluation.cpus = 8.0
    cloud.evaluation.memory_gb = 32.0
    cloud.evaluation.accelerator_type = "NVIDIA_TESLA_T4"
    cloud.evaluation.accelerator_count = 1
    return cloud
