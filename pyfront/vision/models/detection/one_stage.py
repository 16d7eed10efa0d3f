"""What detectors of one stage share: predictions at every place of every map, and what is found among them."""

from __future__ import annotations

from typing import Any

import numpy as np

from .... import nn
from ....joining import cat
from ....tensor import Tensor
from ...images import tensor_of
from ...suppression import kept_of_categories
from .anchor_utils import AnchorGenerator
from .generalized_rcnn import named, prepared
from .matching import array_of
from .rpn import best_first, permute_and_flatten

Target = dict[str, Tensor]


def by_place(layer: Tensor, numbers: int) -> Tensor:
    """Predictions [n, anchors * numbers, h, w] as [n, h * w * anchors, numbers]."""
    n, channels, h, w = layer.shape
    return permute_and_flatten(layer, n, channels // numbers, numbers, h, w)


def start(module: nn.Module, deviation: float = 0.01) -> None:
    """Convolutions begin with small normal weights, and zeros."""
    for layer in module.modules():
        if isinstance(layer, nn.Conv2d):
            nn.init.normal_(layer.weight, std=deviation)
            if layer.bias is not None:
                nn.init.constant_(layer.bias, 0)


def check_generator(generator: Any) -> None:
    """TypeError where it lays out no boxes."""
    if not isinstance(generator, (AnchorGenerator, type(None))):
        raise TypeError(f"anchor_generator should be of type AnchorGenerator or None instead of {type(generator)}")


def clipped(boxes: Tensor, shapes: list[tuple[int, int]]) -> Tensor:
    """Boxes [n, places, 4] inside their images."""
    limits = np.asarray([[w, h, w, h] for h, w in shapes], np.float32)[:, None]
    return boxes.minimum(tensor_of(limits).to(boxes.device)).clamp(min=0)


class OneStage(nn.Module):
    """A detector whose head predicts for all boxes that a generator lays over the maps. Its parts are `transform`, `backbone`, `anchor_generator`, `head`.

    Images [3, h, w] of any sizes to what was found in each; while training, with targets, to a dict of losses.
    """

    score_thresh: float
    nms_thresh: float
    detections_per_img: int
    topk_candidates: int

    def _losses(self, targets: list[Target], outputs: dict[str, Tensor], anchors: list[Tensor], per_level: list[int]) -> dict[str, Tensor]:
        raise NotImplementedError

    def _predictions(self, outputs: dict[str, Tensor], anchors: list[Tensor]) -> tuple[Tensor, Tensor]:
        """Scores [n, places, classes] and boxes [n, places, 4]."""
        raise NotImplementedError

    def _candidates(self, scores: np.ndarray, per_level: list[int]) -> tuple[np.ndarray, np.ndarray]:
        """Of the scores [places, classes] of an image which places and classes may be found: the best of each map."""
        classes, places, labels, first = scores.shape[1], [], [], 0
        for count in per_level:
            flat = scores[first : first + count].reshape(-1)
            likely = np.flatnonzero(flat > self.score_thresh)
            chosen = likely[best_first(flat[likely], self.topk_candidates)]
            places.append(chosen // classes + first)
            labels.append(chosen % classes)
            first += count
        return np.concatenate(places), np.concatenate(labels)

    def _found(self, outputs: dict[str, Tensor], anchors: list[Tensor], shapes: list[tuple[int, int]], per_level: list[int]) -> list[Target]:
        scores, boxes = self._predictions(outputs, anchors)
        boxes = clipped(boxes, shapes)
        held_scores, held_boxes = array_of(scores), array_of(boxes)
        found = []
        for i in range(len(shapes)):
            places, labels = self._candidates(held_scores[i], per_level)
            kept = kept_of_categories(held_boxes[i][places], held_scores[i][places, labels], labels, self.nms_thresh)[: self.detections_per_img]
            places, labels = places[kept], labels[kept]
            one: Target = {}
            for key, all_, index in (("boxes", boxes, (i, places)), ("scores", scores, (i, places, labels))):
                chosen = tuple(v if isinstance(v, int) else tensor_of(v) for v in index)
                one[key] = all_[chosen] if all_.requires_grad else tensor_of(array_of(all_)[index]).to(all_.device)
            found.append({**one, "labels": tensor_of(labels).to(boxes.device)})
        return found

    def eager_outputs(self, losses: dict[str, Tensor], detections: list[Target]) -> Any:
        """What a call gives: the losses while training, else the detections."""
        return losses if self.training else detections

    def forward(self, images: list[Tensor], targets: list[Target] | None = None) -> Any:
        """A list of dicts (boxes, scores, labels), one for each image; while training a dict of losses."""
        batch, targets, sizes = prepared(self, images, targets)
        maps = list(named(self.backbone(batch.tensors)).values())
        outputs = self.head(maps)
        anchors = self.anchor_generator(batch, maps)
        per_place = self.anchor_generator.num_anchors_per_location()
        per_level = [m.shape[-2] * m.shape[-1] * count for m, count in zip(maps, per_place, strict=True)]
        losses: dict[str, Tensor] = {}
        found: list[Target] = []
        if self.training:
            assert targets is not None
            losses = self._losses(targets, outputs, anchors, per_level)
        else:
            found = self.transform.postprocess(self._found(outputs, anchors, batch.image_sizes, per_level), batch.image_sizes, sizes)
        return self.eager_outputs(losses, found)


def over_maps(maps: list[Tensor], numbers: int, predict: Any) -> Tensor:
    """[n, places of all maps, numbers]."""
    return cat([by_place(predict(m), numbers) for m in maps], 1)


def wanted_classes(rows: np.ndarray, labels: np.ndarray, classes: int) -> np.ndarray:
    """[places, classes]: 1 where a place is to find a true box's class."""
    made = np.zeros((len(rows), classes), np.float32)
    held = np.flatnonzero(rows >= 0)
    made[held, labels[rows[held]]] = 1
    return made

