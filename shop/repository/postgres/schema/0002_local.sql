-- What the workers of one shop share and no replica ever sees: not logged, so not replicated; empty after a crash or a promotion.
-- Times are seconds of the workers' clock.

CREATE UNLOGGED TABLE admin_sessions (
    sid_hash      bytea PRIMARY KEY, -- the id itself is only in the browser
    admin_id      text NOT NULL,
    password_hash text NOT NULL,
    began         double precision NOT NULL,
    seen          double precision NOT NULL
);

CREATE UNLOGGED TABLE login_tries (
    key          text COLLATE "C" PRIMARY KEY,
    failures     integer NOT NULL,
    next_at      double precision NOT NULL,
    forgotten_at double precision NOT NULL
);

CREATE UNLOGGED TABLE rate_counters (
    key     text COLLATE "C" PRIMARY KEY,
    count   bigint NOT NULL,
    ends_at double precision NOT NULL
);
