-- How long browsers and shared caches may keep a link's redirect; null is the edge's default policy.

-- NOT VALID: every row that is there holds null, which passes, and to prove it by reading a hundred million rows would
-- keep this lock on the table meanwhile. What is written from now on is checked.
ALTER TABLE links
    ADD COLUMN cache_max_age_s integer,
    ADD CONSTRAINT links_cache_max_age CHECK (cache_max_age_s BETWEEN 0 AND 31536000) NOT VALID;

-- A view takes a new column at its end only; what was granted on it stays.
CREATE OR REPLACE VIEW edge_link AS
SELECT domain_id, code, id AS link_id, version, status, target, is_enabled, not_before, not_after, cache_max_age_s
FROM links
WHERE deleted_at IS NULL;
