//! A database of its own for each world, on the server of `DATABASE_URL`.

use sqlx::{Connection, PgConnection, postgres::PgConnectOptions};

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
