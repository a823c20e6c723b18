"""What each click of a batch was, by the enricher's word. Cimports other leaves."""

from control.clicks._clicks cimport Clicks

# Fill the rows. Returns the tags of each of clicks.link_days().
cdef list enrich_clicks(Clicks clicks, object enricher, object facts, object salts)
