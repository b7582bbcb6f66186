/*
 * schema_history: what was applied to this database, and by which release.
 *
 *   status     none
 *   called by  schema.migrate, schema.check
 *   locks      nothing
 *   notifies   nobody
 *   raises     nothing; schema.check refuses with PD005 in Python
 */

/* Changes of tables: each once. On a fresh database they are recorded, not run. */
create table if not exists pgdurable.schema_migrations (
  version    integer not null,
  name       text not null,
  applied_at timestamptz not null,
  constraint schema_migrations_pkey
    primary key (version)
);

comment on table pgdurable.schema_migrations is
  'The numbered table changes this database has; about the schema, not about any principal.';

/* The repeatable files: all are applied again when one differs. */
create table if not exists pgdurable.schema_files (
  name       text not null,
  checksum   text not null,
  release    text not null,
  applied_at timestamptz not null,
  constraint schema_files_pkey
    primary key (name)
);

comment on table pgdurable.schema_files is
  'The sql files that made the functions, and which release applied them; of no principal.';
