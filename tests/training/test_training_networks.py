# SPDX-License-Identifier: Apache-2.0
"""Initial weights: from a folder or a file in any naming, or refused."""

from dataclasses import replace

import pytest
import timm
import torch
import torchvision
from legacy_layouts import PyTorchEfficientNet

from deepfake_video.modeling_deepfake import DeepfakeForVideoClassification
from deepfake_video.training.errors import TrainingError
from deepfake_video.training.networks import make_network
from deepfake_video.training.recipe import Recipe
from drawn_faces import save_tiny_model
from training_videos import tiny_recipe


def b0(initial: str | None = None) -> Recipe:
    return Recipe(preset="efficientnet-b0-frames", config={"image_size": 32}, initial=initial)


def backbone(recipe: Recipe):
    return make_network(recipe).deepfake.frame_encoder.backbone


def test_the_seed_gives_the_weights():
    first, same, other = (make_network(tiny_recipe(seed=seed)).state_dict() for seed in (0, 0, 1))
    assert all(torch.equal(first[name], same[name]) for name in first)
    assert not torch.equal(first["classifier.out_proj.weight"], other["classifier.out_proj.weight"])


def test_a_new_network_does_not_count_as_trained():
    assert not make_network(tiny_recipe()).config.is_trained


def test_the_backbone_of_a_model_folder_is_taken(tmp_path):
    folder = save_tiny_model(tmp_path / "model", seed=5)
    network = make_network(tiny_recipe(initial=folder, config={"rnn_type": "gru"}))
    torch.manual_seed(5)
    expected = make_network(tiny_recipe(seed=5)).deepfake.frame_encoder.backbone.state_dict()
    taken = network.deepfake.frame_encoder.backbone.state_dict()
    assert all(torch.equal(taken[name], expected[name]) for name in expected)


def test_a_model_folder_of_the_same_network_goes_on_with_its_head(tmp_path):
    network = make_network(tiny_recipe(seed=5))
    network.save_pretrained(tmp_path / "model")
    taken = make_network(tiny_recipe(initial=str(tmp_path / "model"))).state_dict()
    assert all(torch.equal(taken[name], value) for name, value in network.state_dict().items())


def test_a_model_folder_with_shards_is_read_whole(tmp_path):
    network = make_network(tiny_recipe(seed=5))
    network.save_pretrained(tmp_path / "model", max_shard_size="100KB")
    assert not (tmp_path / "model/model.safetensors").exists()
    taken = make_network(tiny_recipe(initial=str(tmp_path / "model"))).state_dict()
    assert all(torch.equal(taken[name], value) for name, value in network.state_dict().items())


def test_a_model_whose_first_label_is_fake_starts_with_the_same_answers(tmp_path):
    network = make_network(tiny_recipe(seed=5)).eval()
    network.config.id2label, network.config.label2id = {0: "fake", 1: "real"}, {"fake": 0, "real": 1}
    network.save_pretrained(tmp_path / "model")
    taken = make_network(tiny_recipe(initial=str(tmp_path / "model"))).eval()
    assert taken.config.id2label == {0: "real", 1: "fake"}
    clip = torch.randn(1, 2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        torch.testing.assert_close(taken(clip).logits, network(clip).logits.flip(-1))
        assert network(clip).logits.diff().abs() > 1e-4


@pytest.mark.parametrize("has_head", [True, False])
def test_weights_in_torchvisions_naming_are_taken(tmp_path, has_head):
    torch.manual_seed(7)
    published = torchvision.models.efficientnet_b0(weights=None).state_dict()
    kept = {name: tensor for name, tensor in published.items() if has_head or name.startswith("features.")}
    torch.save(kept, tmp_path / "b0.pth")
    taken = backbone(b0(str(tmp_path / "b0.pth"))).state_dict()
    assert all(torch.equal(tensor, published[name]) for name, tensor in taken.items())


@pytest.mark.parametrize("has_gates", [True, False])
def test_weights_in_the_naming_of_efficientnet_pytorch_are_taken(tmp_path, has_gates):
    torch.manual_seed(8)
    published = PyTorchEfficientNet(0, size=None)
    state = {name: tensor for name, tensor in published.state_dict().items() if has_gates or "_se_" not in name}
    torch.save(state, tmp_path / "b0.pth")
    recipe = b0(str(tmp_path / "b0.pth"))
    taken = backbone(replace(recipe, config={**recipe.config, "conv_padding": "same"})).eval()
    frames = torch.randn(2, 3, 40, 40)
    torch.testing.assert_close(taken.features[0][0](frames), published._conv_stem(frames))
    hidden = torch.randn(2, 16, 10, 10)
    torch.testing.assert_close(taken.features[2][0].block[0][0](hidden), published._blocks[1]._expand_conv(hidden))
    gates = [module.fc2.bias for module in taken.modules() if hasattr(module, "fc2")]
    # Without squeeze-and-excitation every channel passes.
    assert all((gate == 4).all() for gate in gates) == (not has_gates)


def test_no_share_is_kept_of_a_head_that_is_random(tmp_path):
    folder = save_tiny_model(tmp_path / "model", seed=5)
    with pytest.raises(TrainingError, match="model: contains only part of this network"):
        make_network(tiny_recipe(initial=folder, initial_share=0.5, config={"rnn_type": "gru"}))
    make_network(tiny_recipe(initial=folder, initial_share=0.5))


def test_imagenet_weights_are_downloaded_by_one_word(monkeypatch):
    torch.manual_seed(3)
    published = torchvision.models.shufflenet_v2_x0_5(weights=None).state_dict()
    entry = torchvision.models.ShuffleNet_V2_X0_5_Weights
    monkeypatch.setattr(entry, "get_state_dict", lambda self, **kwargs: published)
    taken = backbone(tiny_recipe(initial="imagenet")).state_dict()
    assert all(torch.equal(tensor, published[name]) for name, tensor in taken.items())


def test_a_backbone_without_published_weights_is_refused_with_the_way_out():
    recipe = tiny_recipe(initial="imagenet", config={"backbone": "timm/efficientnet_b6", "image_size": 64})
    with pytest.raises(TrainingError, match=r"recipe: initial: .*efficientnet_b6.* Set initial to") as error:
        make_network(recipe)
    assert "\n" not in str(error.value)


def test_weights_of_another_network_are_refused(tmp_path):
    torch.save(torchvision.models.shufflenet_v2_x0_5(weights=None).state_dict(), tmp_path / "other.pth")
    with pytest.raises(TrainingError, match="contains no weights of efficientnet_b0"):
        make_network(b0(str(tmp_path / "other.pth")))


def test_weights_of_another_size_are_refused(tmp_path):
    torch.save(torchvision.models.efficientnet_b4(weights=None).state_dict(), tmp_path / "b4.pth")
    with pytest.raises(TrainingError, match="shape"):
        make_network(b0(str(tmp_path / "b4.pth")))


def test_a_file_that_is_not_there_is_a_value_error(tmp_path):
    with pytest.raises((ValueError, OSError), match=r"none\.pth"):
        make_network(b0(str(tmp_path / "none.pth")))


def frame_classifier(folder, **changes: object) -> str:
    config = {"rnn_type": "none", "num_hidden_layers": 0, "hidden_size": 1024, "frame_aggregation": "mean-logit"}
    return save_tiny_model(folder, seed=5, **config, **changes)


def scores_recipe(initial: str) -> Recipe:
    return tiny_recipe(initial=initial, config={"rnn_input": "logits"}, trains="head")


@torch.no_grad()
def test_an_rnn_over_frame_scores_reads_those_of_the_frame_classifier(tmp_path):
    folder = frame_classifier(tmp_path / "model")
    network = make_network(scores_recipe(folder)).eval()
    source = DeepfakeForVideoClassification.from_pretrained(folder).eval()
    clip = torch.rand(1, 3, 3, 32, 32)
    read = network.deepfake.temporal_encoder.frame_classifier(network.get_frame_features(clip))
    torch.testing.assert_close(read, source(pixel_values_videos=clip).frame_logits)
    assert not any(p.requires_grad for p in network.deepfake.temporal_encoder.frame_classifier.parameters())
    assert all(p.requires_grad for p in network.deepfake.temporal_encoder.rnn.parameters())


def test_scores_of_what_is_no_frame_classifier_are_refused(tmp_path):
    with pytest.raises(TrainingError, match="not a frame classifier"):
        make_network(scores_recipe(frame_classifier(tmp_path / "model", classifier_hidden_sizes=[8])))


def test_only_the_head_is_trained_where_the_recipe_says_so():
    network = make_network(tiny_recipe(trains="head"))
    assert not any(parameter.requires_grad for parameter in network.deepfake.frame_encoder.parameters())
    assert all(parameter.requires_grad for parameter in network.classifier.parameters())


def timm_recipe(name: str, initial: str) -> Recipe:
    return tiny_recipe(initial=initial, config={"backbone": f"timm/{name}", "image_size": 160})


def test_weights_of_a_timm_backbone_are_taken_with_or_without_its_classifier(tmp_path):
    torch.manual_seed(7)
    published = timm.create_model("test_efficientnet", num_classes=2).half().state_dict()
    torch.save(published, tmp_path / "net.pth")
    taken = backbone(timm_recipe("test_efficientnet", str(tmp_path / "net.pth"))).state_dict()
    assert all(torch.equal(tensor, published[name].float()) for name, tensor in taken.items())


def test_layers_that_only_share_a_name_with_gates_are_not_left_random(tmp_path):
    published = timm.create_model("test_vit", num_classes=0).state_dict()
    torch.save({name: tensor for name, tensor in published.items() if ".fc1." not in name}, tmp_path / "net.pth")
    with pytest.raises(TrainingError, match=r"blocks\.0\.mlp\.fc1"):
        make_network(timm_recipe("test_vit", str(tmp_path / "net.pth")))


def test_the_recipe_of_a_preset_prepares_frames_as_the_preset_does():
    processor = Recipe(preset="efficientnet-lite2-frames", processor={"face_padding": "zero"}).make_processor()
    assert (processor.face_margin, processor.image_mean[0], processor.face_padding) == (1.15, 0.485, "zero")
