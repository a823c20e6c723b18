"""What each click of a batch was, by the enricher's word. Cimports other leaves."""

from control.clicks._clicks cimport Clicks

# Fill the rows. Returns (index, tags) of those of clicks.link_days() that have tags.
cdef list enrich_clicks(Clicks clicks, object enricher, object facts, object salts)
