-- The shop's records. What can be said in a constraint is said here: the last line of defence behind the shop's own rules.
-- Text that is compared or sorted is so by code points, as the rest of the shop does, whatever the server's locale.

CREATE DOMAIN moment AS text COLLATE "C" CHECK (VALUE ~ '^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$');

CREATE TABLE categories (
    id          text COLLATE "C" PRIMARY KEY,
    slug        text COLLATE "C" NOT NULL CONSTRAINT category_slug UNIQUE,
    name        text NOT NULL,
    rank        integer NOT NULL,
    version     integer NOT NULL CHECK (version >= 1),
    name_folded text COLLATE "C" NOT NULL, -- to sort by
    words       tsvector NOT NULL          -- to search by: the words as the shop folds them, no dictionary
);

CREATE TABLE products (
    id          text COLLATE "C" PRIMARY KEY,
    sku         text COLLATE "C" NOT NULL CONSTRAINT product_sku UNIQUE,
    slug        text COLLATE "C" NOT NULL CONSTRAINT product_slug UNIQUE,
    name        text NOT NULL,
    description text NOT NULL,
    category_id text COLLATE "C" NOT NULL
                CONSTRAINT product_category REFERENCES categories DEFERRABLE INITIALLY DEFERRED,
    price_cents integer NOT NULL CHECK (price_cents BETWEEN 0 AND 100000000),
    stock       integer NOT NULL CONSTRAINT product_stock CHECK (stock >= 0),
    picture     text NOT NULL,
    is_archived boolean NOT NULL,
    version     integer NOT NULL CHECK (version >= 1),
    created_at  moment NOT NULL,
    updated_at  moment NOT NULL,
    name_folded text COLLATE "C" NOT NULL,
    words       tsvector NOT NULL          -- of name, SKU and description, and `#<category id>`
) WITH (fillfactor = 85);

-- No index names `stock`: a sale then rewrites the row in its page and touches no index at all.
CREATE INDEX products_by_name     ON products (name_folded, id)                   WHERE NOT is_archived;
CREATE INDEX products_by_price    ON products (price_cents, name_folded, id)      WHERE NOT is_archived;
CREATE INDEX products_by_price_up ON products (price_cents DESC, name_folded, id) WHERE NOT is_archived;
CREATE INDEX products_by_newest   ON products (created_at DESC, name_folded, id)  WHERE NOT is_archived;
CREATE INDEX products_by_category ON products (category_id, name_folded, id)      WHERE NOT is_archived;
CREATE INDEX products_archived    ON products (name_folded, id)                   WHERE is_archived;
CREATE INDEX products_words       ON products USING gin (words);

CREATE TABLE carts (
    id           text COLLATE "C" PRIMARY KEY,
    lines        jsonb NOT NULL CHECK (jsonb_typeof(lines) = 'array'), -- a cart may name a product that is gone
    checkout_key text COLLATE "C" NOT NULL,
    updated_at   moment NOT NULL
) WITH (fillfactor = 85);

-- Not a row that counts: its lock would make every order wait for the one before to be confirmed, far side included.
CREATE SEQUENCE order_numbers START WITH 10001;

CREATE TABLE orders (
    number         text COLLATE "C" PRIMARY KEY,
    running        bigint NOT NULL, -- the number's last part: the order in which orders were made, over all timelines
    checkout_key   text COLLATE "C" NOT NULL CONSTRAINT order_checkout_key UNIQUE,
    name           text NOT NULL,
    email          text NOT NULL,
    street         text NOT NULL,
    postcode       text NOT NULL,
    city           text NOT NULL,
    country        text NOT NULL,
    note           text NOT NULL,
    subtotal_cents bigint NOT NULL CHECK (subtotal_cents >= 0),
    shipping_cents bigint NOT NULL CHECK (shipping_cents >= 0),
    total_cents    bigint NOT NULL,
    currency       text NOT NULL,
    status         text COLLATE "C" NOT NULL CHECK (status IN ('placed', 'sent', 'cancelled')),
    placed_at      moment NOT NULL,
    sent_at        moment,
    cancelled_at   moment,
    version        integer NOT NULL CHECK (version >= 1),
    words          tsvector NOT NULL, -- of number, name and e-mail
    CONSTRAINT order_total CHECK (total_cents = subtotal_cents + shipping_cents)
);

CREATE INDEX orders_by_running ON orders (running DESC, number);
CREATE INDEX orders_by_status  ON orders (status, running DESC, number);
CREATE INDEX orders_words      ON orders USING gin (words);

-- A document: it says what was sold as it was then, and stays when the product does not.
CREATE TABLE order_lines (
    order_number text COLLATE "C" NOT NULL REFERENCES orders ON DELETE CASCADE,
    place        smallint NOT NULL,
    product_id   text COLLATE "C" NOT NULL,
    sku          text NOT NULL,
    name         text NOT NULL,
    price_cents  integer NOT NULL CHECK (price_cents >= 0),
    quantity     integer NOT NULL CHECK (quantity > 0),
    PRIMARY KEY (order_number, place)
);

CREATE TABLE admins (
    id            text COLLATE "C" PRIMARY KEY,
    password_hash text NOT NULL,
    changed_at    moment NOT NULL
);

-- One row for each update that changed anything, written in its transaction: what crosses, what is lost, what is entered again.
CREATE TABLE commits (
    id         uuid PRIMARY KEY,     -- random; known to the writer before its COMMIT
    timeline   integer NOT NULL,     -- of the primary that took it
    lsn        bigint NOT NULL,      -- end of the log in bytes when the row was written; the commit itself comes after it
    at         timestamptz NOT NULL, -- by the server's clock
    xid        xid8 NOT NULL,
    operations jsonb NOT NULL        -- [{"collection", "id", "record": {…} | null}], as a line of db.journal says it
);

CREATE INDEX commits_by_lsn ON commits (lsn);
