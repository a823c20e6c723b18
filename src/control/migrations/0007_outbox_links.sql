-- Whether a change of a link is on its way is asked for each key that differs, by verifications and by the audit; a
-- backlog of a million rows is read through for none of them.

CREATE INDEX outbox_links ON outbox (link_id);
