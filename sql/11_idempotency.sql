/*
 * idempotency: a key leads to one response, however often and however many at once it is sent.
 *
 *   status     none
 *   called by  _enqueue
 *   locks      idempotency_keys rows in (principal, key) order: waits for one that is being inserted
 *   notifies   nobody
 *   raises     nothing
 */

create or replace function pgdurable._request_hash(p_request text)
returns text
language sql
immutable
set search_path = ''
as $$
  select encode(sha256(convert_to(p_request, 'UTF8')), 'hex');
$$;

/*
 * Which response owns each key, and for which request. The key rows are inserted before anything
 * else: of fifty at once one wins, the others wait for its commit and then, in a new
 * snapshot, find its response. One that was deleted just then has freed its key.
 * The limit keeps the look-up to one index scan per key, whatever the plan; under REPEATABLE
 * READ a row that was deleted just now is still seen beside its successor.
 */
create or replace function pgdurable._settle_idempotency_keys(
  p_principals   text[],
  p_keys         text[],
  p_requests     text[],
  p_response_ids text[],
  p_now          timestamptz
)
returns table (owner_ids text[], request_hashes text[])
language plpgsql
set search_path = ''
set enable_seqscan = off
set plan_cache_mode = force_generic_plan
as $$
declare
  v_all_found boolean;
begin
  loop
    insert into pgdurable.idempotency_keys (principal, key, request_hash, response_id, created_at)
    select w.principal, w.key, pgdurable._request_hash(w.request), w.response_id, p_now
    from unnest(p_principals, p_keys, p_requests, p_response_ids)
      as w (principal, key, request, response_id)
    where w.key is not null
    order by w.principal, w.key
    on conflict (principal, key) do nothing;

    select
      array_agg(k.response_id order by w.n),
      array_agg(k.request_hash order by w.n),
      bool_and(w.key is null or k.response_id is not null)
    into owner_ids, request_hashes, v_all_found
    from unnest(p_principals, p_keys) with ordinality as w (principal, key, n)
    left join lateral (
      select o.response_id, o.request_hash
      from pgdurable.idempotency_keys as o
      where o.principal = w.principal and o.key = w.key
      order by o.created_at desc
      limit 1
    ) as k on true;

    exit when v_all_found;
  end loop;

  return next;
end;
$$;
