-- Tags of links: what they are called, which ones a link has, and where the links of a tag are found.

-- `name` is as it was first written; `key` is what makes two spellings the same tag (control.tags.model.key_of).
CREATE TABLE tags (
    id integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name text COLLATE "C" NOT NULL UNIQUE,
    key text COLLATE "C" NOT NULL UNIQUE,
    created_at timestamptz NOT NULL DEFAULT now()
);

-- The default is a constant, so PostgreSQL notes it once instead of writing a hundred million rows. NOT VALID: they all
-- hold that default, which passes, and to prove it by reading them would keep this lock on the table meanwhile.
ALTER TABLE links
    ADD COLUMN tags integer[] NOT NULL DEFAULT '{}',
    ADD CONSTRAINT links_tags CHECK (cardinality(tags) <= 10 AND array_position(tags, NULL) IS NULL) NOT VALID;

-- The index by tag is a table, for two reasons. A GIN index on the column would have to read every row before the first
-- one has a tag, and keep writers out for that long: a migration is one transaction, so CONCURRENTLY is not possible in
-- it. And it gives the links of a tag in no order: each page of a tag with a million links would fetch and sort them all.
-- Here a page is a range of the primary key, at any depth.
--
-- Only links that are not deleted stand in it. There is no foreign key: it would cost a look-up and a row lock for each
-- row of an import. Whoever gives a link a tag holds a lock on the tag's row until that is committed (store.lock).
CREATE TABLE link_tags (
    tag_id integer NOT NULL,
    link_id bigint NOT NULL,
    PRIMARY KEY (tag_id, link_id)
);

CREATE FUNCTION link_tags_follow() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP <> 'INSERT' THEN
        DELETE FROM link_tags WHERE tag_id = ANY (OLD.tags) AND link_id = OLD.id;
    END IF;
    IF TG_OP <> 'DELETE' AND NEW.deleted_at IS NULL THEN
        INSERT INTO link_tags (tag_id, link_id) SELECT DISTINCT unnest(NEW.tags), NEW.id;
    END IF;
    RETURN NULL;
END $$;

-- Links without tags do not come as far as the function.
CREATE TRIGGER link_tags_insert AFTER INSERT ON links FOR EACH ROW
    WHEN (NEW.tags <> '{}') EXECUTE FUNCTION link_tags_follow();
CREATE TRIGGER link_tags_update AFTER UPDATE OF id, tags, deleted_at ON links FOR EACH ROW
    WHEN ((OLD.tags <> '{}' OR NEW.tags <> '{}')
          AND (OLD.id, OLD.tags, OLD.deleted_at) IS DISTINCT FROM (NEW.id, NEW.tags, NEW.deleted_at))
    EXECUTE FUNCTION link_tags_follow();
CREATE TRIGGER link_tags_delete AFTER DELETE ON links FOR EACH ROW
    WHEN (OLD.tags <> '{}') EXECUTE FUNCTION link_tags_follow();
