# SPDX-License-Identifier: Apache-2.0
"""
Transformers' own tests of models and video processors, run against this package from outside.

They come with the source distribution of the installed version; `.ci/run` unpacks it and names the folder of its
tests in DEEPFAKE_VIDEO_TRANSFORMERS_TESTS.
"""

import importlib
import os
import sys
import types
import unittest
from unittest import mock

import pytest
import torch
import transformers

from deepfake_video import DeepfakeConfig, DeepfakeForVideoClassification, DeepfakeModel, DeepfakeVideoProcessor
from deepfake_video.hub.registration import register


FOLDER = os.environ.get("DEEPFAKE_VIDEO_TRANSFORMERS_TESTS")
if not FOLDER:
    pytest.skip("DEEPFAKE_VIDEO_TRANSFORMERS_TESTS is not set", allow_module_level=True)

PACKAGE = "transformers_source_tests"


# What the configuration tester passes to every configuration; its own list is not in the source distribution. The list
# of the repository holds one label and the problem type "regression" too, which are refused: see below.
COMMON_KWARGS = {
    "return_dict": False,
    "output_hidden_states": True,
    "dtype": "float16",
    "chunk_size_feed_forward": 5,
    "architectures": ["BertModel"],
    "is_encoder_decoder": True,
}
REFUSED_KWARGS = {"id2label": {0: "label"}, "label2id": {"label": 0}, "problem_type": "regression"}


def import_mixins() -> tuple[types.ModuleType, types.ModuleType, types.ModuleType]:
    """The modules under a package name of their own; what the distribution leaves out is empty."""
    package = types.ModuleType(PACKAGE)
    package.__path__ = [FOLDER]
    sys.modules[PACKAGE] = package
    left_out = {"exporters.test_export": "ExportTesterMixin", "generation.test_utils": "GenerationTesterMixin"}
    for module, mixin in left_out.items():
        if not os.path.exists(os.path.join(FOLDER, *module.split(".")) + ".py"):
            parent = module.split(".")[0]
            sys.modules[f"{PACKAGE}.{parent}"] = types.ModuleType(f"{PACKAGE}.{parent}")
            sys.modules[f"{PACKAGE}.{module}"] = types.ModuleType(f"{PACKAGE}.{module}")
            setattr(sys.modules[f"{PACKAGE}.{module}"], mixin, type(mixin, (), {}))
    kwargs = types.ModuleType(f"{PACKAGE}.utils.test_configuration_utils")
    kwargs.config_common_kwargs = COMMON_KWARGS
    sys.modules.setdefault(f"{PACKAGE}.utils", types.ModuleType(f"{PACKAGE}.utils"))
    sys.modules[kwargs.__name__] = kwargs
    # The tester looks for the sources of Transformers beside its tests.
    with mock.patch("transformers.utils.direct_transformers_import", return_value=transformers):
        tester = importlib.import_module(f"{PACKAGE}.test_configuration_common")
    return (
        tester,
        importlib.import_module(f"{PACKAGE}.test_modeling_common"),
        importlib.import_module(f"{PACKAGE}.test_video_processing_common"),
    )


configuration, modeling, processing = import_mixins()
register()
# Base models have no loss to train on; the mixin knows them by this table.
modeling.MODEL_MAPPING_NAMES[DeepfakeConfig.model_type] = "DeepfakeModel"


class DeepfakeModelTester:
    batch_size = 3
    seq_length = 4
    is_training = True

    def __init__(self, parent: unittest.TestCase) -> None:
        self.parent = parent
        config = self.get_config()
        self.num_hidden_layers, self.hidden_size = config.num_hidden_layers, config.hidden_size

    def get_config(self) -> DeepfakeConfig:
        return DeepfakeConfig.from_preset("tiny")

    def prepare_config_and_inputs_for_common(self):
        config = self.get_config()
        shape = (self.batch_size, config.num_frames, 3, config.image_size, config.image_size)
        return config, {"pixel_values_videos": torch.rand(shape)}


class DeepfakeModelTest(modeling.ModelTesterMixin, unittest.TestCase):
    all_model_classes = (DeepfakeModel, DeepfakeForVideoClassification)
    has_attentions = False
    test_resize_embeddings = False
    test_head_masking = False
    is_encoder_decoder = False

    def setUp(self):
        self.model_tester = DeepfakeModelTester(self)

    def _prepare_for_class(self, inputs_dict, model_class, return_labels=False):
        inputs = super()._prepare_for_class(inputs_dict, model_class, return_labels=return_labels)
        if return_labels and model_class is DeepfakeForVideoClassification:
            inputs["labels"] = torch.zeros(self.model_tester.batch_size, dtype=torch.long)
        return inputs

    def test_hidden_states_output(self):
        """The mixin expects one width for all; here the first are frame features, the second the RNN's states."""
        config, inputs = self.model_tester.prepare_config_and_inputs_for_common()
        for model_class in self.all_model_classes:
            states = model_class(config).eval()(**inputs, output_hidden_states=True).hidden_states
            self.assertEqual([state.shape for state in states], [(3, 4, 1024), (3, 4, 32)])

    @unittest.skip("input is video: there are no token embeddings")
    def test_inputs_embeds(self):
        pass

    @unittest.skip("input is video: there are no token embeddings")
    def test_model_get_set_embeddings(self):
        pass


class DeepfakeConfigTest(unittest.TestCase):
    def test_config(self):
        tester = configuration.ConfigTester(
            self, config_class=DeepfakeConfig, has_text_modality=False, common_properties=["hidden_size", "num_frames"]
        )
        tester.run_common_tests()

    def test_one_label_and_a_regression_are_refused(self):
        """
        Transformers' tester builds a configuration of one label for a regression. Real and fake are two labels, and
        the pipeline applies no softmax for another problem type: such a checkpoint would give wrong scores silently.
        """
        for name in ("id2label", "problem_type"):
            with self.assertRaisesRegex(ValueError, name):
                DeepfakeConfig(**{key: REFUSED_KWARGS[key] for key in (name, name.replace("id2label", "label2id"))})


class DeepfakeVideoProcessingTester:
    batch_size = 5
    num_frames = 8
    num_channels = 3
    min_resolution, max_resolution = 30, 80

    def prepare_video_processor_dict(self):
        return {
            "do_resize": True,
            "size": {"shortest_edge": 20},
            "do_center_crop": True,
            "crop_size": {"height": 18, "width": 18},
            "do_normalize": True,
            "image_mean": [0.5, 0.5, 0.5],
            "image_std": [0.5, 0.5, 0.5],
            "do_convert_rgb": True,
        }

    def expected_output_video_shape(self, videos):
        return self.num_frames, self.num_channels, 18, 18

    def prepare_video_inputs(self, equal_resolution=False, return_tensors="pil"):
        return processing.prepare_video_inputs(
            batch_size=self.batch_size,
            num_frames=self.num_frames,
            num_channels=self.num_channels,
            min_resolution=self.min_resolution,
            max_resolution=self.max_resolution,
            equal_resolution=equal_resolution,
            return_tensors=return_tensors,
        )


class DeepfakeVideoProcessingTest(processing.VideoProcessingTestMixin, unittest.TestCase):
    fast_video_processing_class = DeepfakeVideoProcessor
    test_cast_dtype = True

    def setUp(self):
        super().setUp()
        self.video_processor_tester = DeepfakeVideoProcessingTester()

    @property
    def video_processor_dict(self):
        return self.video_processor_tester.prepare_video_processor_dict()
