-- What a terminal has paid out is counted by link, so that no partner uses up what is another's. What it was in the newest month is
-- counted again from the authorisations; earlier months are looked at by nobody.
INSERT INTO terminal_use AS u (terminal, business_date, count, amount_idr)
SELECT a.link || ':' || t.terminal, t.business_date, count(*), sum(a.amount_idr)
FROM terminal_use t JOIN authorisation a ON a.business_date = t.business_date AND a.acquirer || ':' || a.terminal = t.terminal
WHERE t.business_date >= (SELECT date_trunc('month', max(business_date))::date FROM terminal_use)
  AND a.reason = 'APPROVED' AND a.kind IN ('CASH', 'PURCHASE', 'HOLD')
GROUP BY 1, 2 ON CONFLICT DO NOTHING;
COMMENT ON COLUMN terminal_use.terminal IS 'link:acquirer:terminal';

-- How far a link has been told of the cards that were stopped before it wanted to know; over when filled_at is there.
ALTER TABLE outgoing_link ADD COLUMN filled_to bigint, ADD COLUMN filled_at timestamptz;

-- Ended messages are removed when they are old enough; open ones, and totals of partners, never.
CREATE INDEX outgoing_ended ON outgoing_message (ended_at) WHERE state IN ('ANSWERED', 'DROPPED');
CREATE INDEX desk_message_ended ON desk_message (received_at) WHERE trouble IS NULL OR handled_at IS NOT NULL;

CREATE FUNCTION remove_ended_messages(days int, most int, OUT outgoing int, OUT desk int) LANGUAGE plpgsql SECURITY DEFINER
    SET search_path = public, pg_temp AS $$
BEGIN
    IF days IS NULL OR days < 90 THEN
        RAISE EXCEPTION 'messages are kept for 90 days at least, not %', coalesce(days::text, 'NULL')
            USING ERRCODE = 'object_not_in_prerequisite_state';
    END IF;
    DELETE FROM outgoing_message WHERE id IN (
        SELECT m.id FROM outgoing_message m
        WHERE m.state IN ('ANSWERED', 'DROPPED') AND m.ended_at < now() - make_interval(days => days)
          -- nor what says that an earlier one, which still waits for people, is no longer true
          AND NOT EXISTS (SELECT FROM outgoing_message e WHERE e.link = m.link AND e.subject = m.subject AND e.id < m.id
                          AND e.state NOT IN ('ANSWERED', 'DROPPED'))
        ORDER BY m.ended_at LIMIT most);
    GET DIAGNOSTICS outgoing = ROW_COUNT;
    DELETE FROM desk_message WHERE id IN (
        SELECT m.id FROM desk_message m
        WHERE (m.trouble IS NULL OR m.handled_at IS NOT NULL) AND m.received_at < now() - make_interval(days => days)
          AND coalesce(m.handled_at, m.received_at) < now() - make_interval(days => days)
          AND NOT EXISTS (SELECT FROM partner_total t WHERE t.desk_id = m.id) ORDER BY m.received_at LIMIT most);
    GET DIAGNOSTICS desk = ROW_COUNT;
END $$;
REVOKE EXECUTE ON FUNCTION remove_ended_messages(int, int) FROM PUBLIC;

DO $$
BEGIN
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'kks_app' AND pg_has_role(current_user, oid, 'MEMBER')) THEN
        GRANT EXECUTE ON FUNCTION remove_ended_messages(int, int) TO kks_app;
    END IF;
END $$;
