"""What the catalogue says of an asset."""

import dagster as dg

from pipelines.definitions import definitions
from pipelines.pages.catalogue import block_assets, catalogue_metadata, description
from workers.assets import assets


def test_the_columns_of_an_asset_are_the_fields_of_its_profiles():
    schema = catalogue_metadata(assets()["user_profiles"])["dagster/column_schema"]
    columns = {column.name: (column.type, column.description) for column in schema.columns}
    assert columns["_id"] == ("text", "what finds a profile")
    assert columns["events"] == ("int", "Sum: the sum of what items say")
    assert columns["actions"] == ("map of int", "SumBy: the sum of what items say by key")
    assert columns["liked"][0] == "set of text"
    assert columns["first_seen"] == ("time", "Min: the least that items say")


def test_an_asset_says_where_its_profiles_are_and_no_secret(monkeypatch):
    monkeypatch.setenv("MONGODB_URI", "mongodb://me:secret@example.org")
    monkeypatch.setenv("FANFOLD_DATABASE", "people")
    metadata = catalogue_metadata(assets()["user_profiles"])
    assert metadata["dagster/table_name"] == "people.user_profiles"
    assert "secret" not in str(metadata)


def test_a_description_says_what_an_item_is_and_how_to_mend():
    text = description(assets()["user_profiles"])
    assert "`user`, `action`, `ts`" in text
    assert "`fanfold redrive user_profiles`" in text
    assert "**Derived** from the fields: Rank the topics" in text


def test_lineage_begins_with_the_blocks_in_s3():
    graph = definitions().resolve_asset_graph()
    blocks = dg.AssetKey(["s3", "events"])
    assert graph.get(dg.AssetKey("user_profiles")).parent_keys == {blocks}
    assert not graph.get(blocks).is_materializable


def test_assets_that_read_one_place_hang_on_the_same_blocks():
    asset = assets()["user_profiles"]
    (spec,) = block_assets([asset, asset])
    assert spec.metadata["dagster/uri"] == "s3://fanfold/events/"
