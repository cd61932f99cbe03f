//! A database of its own for each world, on the server of `DATABASE_URL`.

use fournil::queue::CANCEL_CHANNEL;
use sqlx::{Connection, PgConnection, postgres::PgConnectOptions};

/// Ends the leases that a server holds in this database.
pub async fn end_leases(database: &PgConnectOptions, server: &str) {
    let mut connection = PgConnection::connect_with(database).await.expect("the database answers");
    let end = "UPDATE runs SET lease_expires_at = now() - interval '1 second'
               WHERE worker LIKE $1 || '-%' AND lease_expires_at > now()";
    sqlx::query(end).bind(server).execute(&mut connection).await.expect("leases can be ended");
}

/// A database that is dropped at the end.
pub struct Database {
    server: PgConnectOptions,
    name: String,
    /// What `fournil serve` gets as `DATABASE_URL`.
    pub url: String,
}

impl Database {
    /// Makes an empty one.
    pub async fn create() -> Self {
        let server_url =
            std::env::var("DATABASE_URL").expect("DATABASE_URL must name a Postgres server for tests");
        let server: PgConnectOptions = server_url.parse().expect("DATABASE_URL must be a Postgres URL");
        let name = format!("fournil_chaos_{}", uuid::Uuid::new_v4().simple());
        let (address, _) = server_url.rsplit_once('/').expect("DATABASE_URL must name a database");
        let database = Self { server, url: format!("{address}/{name}"), name };
        database.run("CREATE DATABASE").await;
        database
    }

    /// Ends the leases of a server that is dead or frozen, as if their time were over.
    pub async fn end_leases(&self, server: &str) {
        let own: PgConnectOptions = self.url.parse().expect("a Postgres URL");
        end_leases(&own, server).await;
    }

    /// Has all servers ask at once whether they still have their runs, instead of at the next beat of their leases.
    pub async fn have_leases_renewed(&self) {
        let own: PgConnectOptions = self.url.parse().expect("a Postgres URL");
        let mut connection = PgConnection::connect_with(&own).await.expect("the database answers");
        let asked = sqlx::query("SELECT pg_notify($1, '')").bind(CANCEL_CHANNEL);
        asked.execute(&mut connection).await.expect("servers can be told");
    }

    /// Cuts every connection to it.
    pub async fn cut_connections(&self) {
        let mut server = self.connect().await;
        sqlx::query("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = $1")
            .bind(&self.name)
            .execute(&mut server)
            .await
            .expect("connections can be cut");
    }

    /// Lets connections in, or turns them all away.
    pub async fn set_open(&self, open: bool) {
        let mut server = self.connect().await;
        let statement = format!("ALTER DATABASE {} ALLOW_CONNECTIONS {open}", self.name);
        sqlx::query(sqlx::AssertSqlSafe(statement)).execute(&mut server).await.expect("the door can be shut");
        if !open {
            self.cut_connections().await;
        }
    }

    /// Drops it, whoever is still connected.
    pub async fn drop(self) {
        let mut server = self.connect().await;
        let statement = format!("DROP DATABASE IF EXISTS {} WITH (FORCE)", self.name);
        sqlx::query(sqlx::AssertSqlSafe(statement))
            .execute(&mut server)
            .await
            .expect("the database can be dropped");
    }

    async fn run(&self, statement: &str) {
        let mut server = self.connect().await;
        let statement = format!("{statement} {}", self.name);
        sqlx::query(sqlx::AssertSqlSafe(statement))
            .execute(&mut server)
            .await
            .expect("the database can be made");
    }

    async fn connect(&self) -> PgConnection {
        PgConnection::connect_with(&self.server).await.expect("the Postgres server of DATABASE_URL answers")
    }
}
