"""The paper's suite against table 7 of "Segment Anything" (arXiv 2304.02643, appendix D.1)."""

from sam_hub.zero_shot.suite import LIST, read_suite

TABLE_7 = """
PPDLS | plants | 182 | 2347
BBBC038v1 | microscopy | 227 | 10506
DOORS | boulders | 10000 | 10000
TimberSeg | logs | 220 | 2487
NDD20 | underwater | 4402 | 6100
LVIS | scenes | 945 | 9642
STREETS | traffic camera | 819 | 9854
ZeroWaste-f | recycling | 2947 | 6155
iShape | irregular shapes | 754 | 9742
ADE20K | scenes | 302 | 10128
OVIS | occlusions | 2044 | 10011
Hypersim | simulation | 338 | 9445
NDISPark | parking lots | 111 | 2577
VISOR | egocentric | 1864 | 10141
Plittersdorf | stereo images | 187 | 546
EgoHOS | egocentric | 2940 | 9961
IBD | drones | 467 | 11953
WoodScape | fisheye driving | 107 | 10266
Cityscapes | driving | 293 | 9973
PIDray | X-ray | 3733 | 8892
DRAM | paintings | 718 | 1179
TrashCan | underwater | 5936 | 9540
GTEA | egocentric | 652 | 1208
"""
"""Abbreviation, image type, images and masks sampled."""


def test_the_suite_is_table_7():
    rows = [line.split(" | ") for line in TABLE_7.strip().splitlines()]
    entries = read_suite("paper")
    assert len(rows) == len({entry.path for entry in entries}) == 23
    for (name, domain, images, masks), entry in zip(rows, entries, strict=True):
        assert name in entry.name
        assert (entry.domain, entry.images, entry.masks) == (domain, int(images), int(masks))
        assert entry.licence and entry.layout and entry.split and entry.source.startswith("http")
    kinds = [entry.masks_are for entry in entries]
    assert (kinds.count("instance"), kinds.count("semantic"), kinds.count("panoptic")) == (21, 1, 1)


def test_the_list_is_an_example_that_can_be_given_itself():
    assert read_suite(str(LIST)) == read_suite("paper")
