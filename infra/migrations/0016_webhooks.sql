-- Endpoints of users' apps that are told when a book ends.
CREATE TABLE webhooks (
    webhook_id       uuid PRIMARY KEY,
    owner_uid        text NOT NULL,
    url              text NOT NULL,
    events           text[] NOT NULL,                     -- types of events that it wants
    description      text NOT NULL,
    secret           bytea NOT NULL,                      -- its deliveries are signed with it, so it is kept as it is
    created_at       timestamptz NOT NULL,
    failing_since    timestamptz,                         -- no delivery has succeeded since
    not_before       timestamptz,                         -- it has just failed, or asked to be left alone
    disabled_at      timestamptz,
    disabled_because text,                                -- gone, failing
    lease            uuid,                                -- whose delivery is in flight: one at a time
    lease_until      timestamptz
);
CREATE INDEX webhooks_by_owner ON webhooks (owner_uid, created_at DESC);

-- The outbox of events, and the log of what became of them: a row for each endpoint.
CREATE TABLE webhook_deliveries (
    delivery_id     bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    webhook_id      uuid NOT NULL REFERENCES webhooks ON DELETE CASCADE,
    book_id         uuid NOT NULL REFERENCES books ON DELETE CASCADE,
    event_id        text NOT NULL,
    event_type      text NOT NULL,
    payload         jsonb NOT NULL,
    state           text NOT NULL DEFAULT 'pending',      -- pending, delivered, failed
    attempts        integer NOT NULL DEFAULT 0,
    created_at      timestamptz NOT NULL,
    next_attempt_at timestamptz,
    last_attempt_at timestamptz,
    last_status     integer,                              -- HTTP's, if there was an answer
    last_error      text,
    UNIQUE (webhook_id, event_id)
);
CREATE INDEX webhook_deliveries_due ON webhook_deliveries (webhook_id, next_attempt_at) WHERE state = 'pending';
CREATE INDEX webhook_deliveries_by_webhook ON webhook_deliveries (webhook_id, delivery_id DESC);
CREATE INDEX webhook_deliveries_by_book ON webhook_deliveries (book_id);
CREATE INDEX webhook_deliveries_by_age ON webhook_deliveries (created_at);
