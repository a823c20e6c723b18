"""Changes that cannot be projected are visible."""

from tests.control.station import Station, eventually, fetch


def test_poison_row_is_listed_with_its_reason_and_counted(station: Station) -> None:
    """An operator finds it by metric and by API, and everything else goes on."""
    station.create("https://a.example/", code="poison")
    fetch(station.database_url, "ALTER TABLE links DROP CONSTRAINT links_recordable")
    fetch(station.database_url, "UPDATE links SET not_before = '1900-01-01', version = 2")
    fetch(station.database_url, "INSERT INTO outbox (link_id, version) SELECT id, 2 FROM links")
    (item,) = eventually(lambda: station.client.get("/api/v1/outbox/set-aside").json()["items"], "the row set aside")
    assert (item["code"], item["domain"], item["version"]) == ("poison", "go.example", 2)
    assert "instant" in item["reason"]
    assert station.metric('pointsman_outbox_rows{state="set_aside"}') == 1
    assert station.create("https://a.example/")["edges"]["is_projected"]
