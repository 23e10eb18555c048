"""The loss against a pixel-by-pixel restatement of the paper."""

import math

import torch

from sam_hub.models.loss import dice_loss, focal_loss, mask_iou, resize_labels, segmentation_loss


def stated_focal(logits, target, alpha=0.25, gamma=2.0):
    total = 0.0
    for x, t in zip(logits.flatten().tolist(), target.flatten().tolist(), strict=True):
        p = 1 / (1 + math.exp(-x))
        pt = p if t else 1 - p
        total -= (alpha if t else 1 - alpha) * (1 - pt) ** gamma * math.log(pt)
    return total / logits.numel()


def stated_dice(logits, target):
    p = [1 / (1 + math.exp(-x)) for x in logits.flatten().tolist()]
    t = target.flatten().tolist()
    return 1 - (2 * sum(a * b for a, b in zip(p, t, strict=True)) + 1) / (sum(p) + sum(t) + 1)


def some_masks():
    generator = torch.Generator().manual_seed(0)
    logits = 2 * torch.randn(2, 3, 4, 6, 5, generator=generator)
    target = (torch.rand(2, 3, 6, 5, generator=generator) > 0.6).float()
    return logits, torch.rand(2, 3, 4, generator=generator), target


def test_focal_and_dice_of_each_mask():
    logits, _, target = some_masks()
    wide = target[:, :, None].expand_as(logits)
    for b in range(2):
        for n in range(3):
            for m in range(4):
                mask, truth = logits[b, n, m], target[b, n]
                assert abs(focal_loss(logits, wide)[b, n, m] - stated_focal(mask, truth)) < 1e-6
                assert abs(dice_loss(logits, wide)[b, n, m] - stated_dice(mask, truth)) < 1e-6


def test_the_best_of_the_candidates_learns_and_every_score_does():
    logits, scores, target = some_masks()
    logits.requires_grad_(True)
    scores.requires_grad_(True)
    loss = segmentation_loss(logits, scores, target)
    expected = 0.0
    best = {}
    for b in range(2):
        for n in range(3):
            losses = [
                20 * stated_focal(logits[b, n, m], target[b, n]) + stated_dice(logits[b, n, m], target[b, n])
                for m in range(4)
            ]
            best[b, n] = losses.index(min(losses))
            errors = []
            for m in range(4):
                predicted, truth = logits[b, n, m] > 0, target[b, n] > 0
                iou = (predicted & truth).sum() / (predicted | truth).sum()
                errors.append((scores[b, n, m] - iou).item() ** 2)
            expected += min(losses) + sum(errors) / 4
    assert abs(loss.item() - expected / 6) < 1e-5
    loss.backward()
    for (b, n), m in best.items():
        touched = logits.grad[b, n].flatten(1).abs().sum(-1) > 0
        assert touched.tolist() == [i == m for i in range(4)]
    assert (scores.grad != 0).all()


def test_padding_has_no_part_in_the_mean():
    logits, scores, target = some_masks()
    valid = torch.tensor([[True, True, False], [True, False, False]])
    loss = segmentation_loss(logits, scores, target, valid)
    alone = [segmentation_loss(logits[b : b + 1, n : n + 1], scores[b : b + 1, n : n + 1], target[b : b + 1, n : n + 1])
             for b, n in ((0, 0), (0, 1), (1, 0))]  # fmt: skip
    assert torch.isclose(loss, torch.stack(alone).mean())


def test_iou_of_empty_masks_is_one():
    assert mask_iou(torch.full((1, 2, 2), -1.0), torch.zeros(1, 2, 2)).item() == 1
    assert mask_iou(torch.tensor([[[1.0, -1.0]]]), torch.tensor([[[1.0, 1.0]]])).item() == 0.5


def test_labels_shrink_by_area():
    labels = torch.zeros(1, 1, 4, 4)
    labels[0, 0, 0, :2] = 1  # half of the first 2 x 2 cell
    labels[0, 0, 2, 2] = 1  # a quarter of the last
    assert resize_labels(labels, (2, 2)).tolist() == [[[[1, 0], [0, 0]]]]


def test_the_model_gives_it(tiny_vit):
    generator = torch.Generator().manual_seed(0)
    pixels = torch.randn(1, 3, 96, 96, generator=generator)
    points = torch.tensor([[[[20.0, 30.0]], [[70.0, 60.0]]]])
    labels = (torch.rand(1, 2, 96, 96, generator=generator) > 0.5).float()
    output = tiny_vit(pixels, input_points=points, labels=labels)
    target = resize_labels(labels, output.pred_masks.shape[-2:])
    assert torch.equal(output.loss, segmentation_loss(output.pred_masks, output.iou_scores, target))
