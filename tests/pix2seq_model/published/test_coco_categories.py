from pix2seq_model.published.coco_categories import COCO_CATEGORIES


def test_80_categories_of_ids_to_90_with_cocos_gaps():
    ids = [category["id"] for category in COCO_CATEGORIES]
    assert len(ids) == 80
    assert set(range(1, 91)) - set(ids) == {12, 26, 29, 30, 45, 66, 68, 69, 71, 83}
    assert len({category["name"] for category in COCO_CATEGORIES}) == 80
