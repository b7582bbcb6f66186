"""Which privilege a role lacks, and the statement that gives it.

What a role may do is asked of the server, privilege by privilege: one that may do what it needs is
never turned away because it is no member of a role of ours.
"""

from __future__ import annotations

import psycopg
from psycopg import sql

# One row: what each kind of refusal can come from. What does not exist gives null.
FACTS = """
select
  current_user,
  current_database(),
  n.oid is not null,
  has_schema_privilege(n.oid, 'usage'),
  (
    select bool_and(has_table_privilege(c.oid, 'select'))
    from pg_class as c
    where c.relnamespace = n.oid and c.relname in ('schema_files', 'schema_migrations')
  ),
  pg_get_userbyid(n.nspowner),
  pg_has_role(n.nspowner, 'usage'),
  has_database_privilege(current_database(), 'create')
from (select 1) as one
left join pg_namespace as n on n.nspname = 'pgdurable'
"""

# An object of the schema whose owner the current role is not a member of.
FOREIGN = """
select kind || ' pgdurable.' || o.name, pg_get_userbyid(o.owner)
from (
  select 'table' as kind, c.relname::text as name, c.relowner as owner
  from pg_class as c
  where c.relnamespace = to_regnamespace('pgdurable') and c.relkind in ('r', 'p', 'v')
  union all
  select 'function', p.proname::text, p.proowner
  from pg_proc as p
  where p.pronamespace = to_regnamespace('pgdurable')
) as o
where not pg_has_role(o.owner, 'usage')
order by 1
limit 1
"""

RUNTIME = "pgdurable_runtime"
READER = "pgdurable_reader"

# One row: may the current role do what this role of ours may? Null where there is no schema.
RIGHTS = """
select
  current_user::text,
  array(
    select r.rolname::text
    from pg_roles as r
    where r.rolname in ('pgdurable_runtime', 'pgdurable_reader') and pg_has_role(r.oid, 'usage')
  ),
  exists (select from pg_roles as r where r.rolname = %(role)s),
  n.oid is null or has_schema_privilege(n.oid, 'usage') and (
    select bool_and(has_table_privilege(c.oid, 'select'))
    from pg_class as c
    where c.relnamespace = n.oid
      and c.relkind in ('r', 'p', 'v')
      and (c.relkind = 'v' or %(role)s = 'pgdurable_runtime')
  ) and (
    %(role)s <> 'pgdurable_runtime' or (
      select bool_and(
        has_table_privilege(c.oid, 'insert')
        and has_table_privilege(c.oid, 'update')
        and has_table_privilege(c.oid, 'delete')
      )
      from pg_class as c
      where c.relnamespace = n.oid
        and c.relkind in ('r', 'p')
        and c.relname not in ('schema_files', 'schema_migrations')
    ) and (
      select bool_and(has_function_privilege(p.oid, 'execute'))
      from pg_proc as p
      where p.pronamespace = n.oid
    )
  )
from (select 1) as one
left join pg_namespace as n on n.nspname = 'pgdurable'
"""


def what_role_is_missing(conn: psycopg.Connection[tuple[object, ...]], role: str) -> str | None:
    """One sentence and the grant that helps; None where nothing is missing."""
    me, has, exists, may = conn.execute(RIGHTS, {"role": role}).fetchone() or (None,) * 4
    if may:
        return None
    ours = ", ".join(has) if isinstance(has, list) and has else "no role of pgdurable"
    grant = f"grant {role} to {_quoted(me)};"
    if not exists:
        grant = f"create role {role}; then pgdurable migrate --reapply, then: {grant}"
    elif isinstance(has, list) and role in has:
        grant = f"pgdurable migrate --reapply, which grants {role} what it needs"
    return f'role "{me}" has {ours} and needs {role} here. Run: {grant}'


def what_is_missing(conn: psycopg.Connection[tuple[object, ...]], refusal: psycopg.Error) -> str:
    """One sentence and the GRANT; the server's own words where no reason is found."""
    facts = conn.execute(FACTS).fetchone() or (None,) * 8
    role, database, exists, usage, select, owner, owns, may_create = facts
    me = _quoted(role)
    if exists and not usage:
        return _sentence(role, "USAGE", "schema pgdurable", f"USAGE ON SCHEMA pgdurable TO {me}")
    if exists and select is False:
        tables = "pgdurable.schema_files, pgdurable.schema_migrations"
        return _sentence(role, "SELECT", tables, f"SELECT ON {tables} TO {me}")
    if exists and not owns:  # only its owner may replace what is in it
        return _sentence(role, "ownership", "schema pgdurable", f"{_quoted(owner)} TO {me}")
    if foreign := conn.execute(FOREIGN).fetchone():
        name, owner = foreign
        return _sentence(role, "ownership", str(name), f"{_quoted(owner)} TO {me}")
    if not may_create:
        grant = f"CREATE ON DATABASE {_quoted(database)} TO {me}"
        return _sentence(role, "CREATE", f"database {_quoted(database)}", grant)
    return f'role "{role}": {refusal.diag.message_primary}; nothing has changed'


def _sentence(role: object, privilege: str, thing: str, grant: str) -> str:
    return f'role "{role}" lacks {privilege} on {thing}; nothing has changed. Run: GRANT {grant};'


def _quoted(name: object) -> str:
    return sql.Identifier(str(name)).as_string()
