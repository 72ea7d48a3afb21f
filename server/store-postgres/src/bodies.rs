use async_trait::async_trait;
use prost::Message;
use sqlx::{PgPool, Postgres, Row, Transaction, postgres::PgRow};
use tollgate_proto::v1::LegalHold;
use tollgate_store::{
    Bodies, Decided, Doomed, Erased, Erasure, KekOwner, Lead, NAMED_AT_ONCE, Result, StoredBody, StoredHold, StoredKek,
    held_on,
};

use crate::{PostgresStore, audit_log::lead, failed};

type Tx<'a> = Transaction<'a, Postgres>;

fn kek(row: &PgRow) -> sqlx::Result<StoredKek> {
    let owner =
        KekOwner { tenant: row.try_get("tenant")?, subject: row.try_get("subject")?, month: row.try_get("month")? };
    Ok(StoredKek { id: row.try_get("id")?, owner, wrapped: row.try_get("wrapped")? })
}

fn body(row: &PgRow) -> sqlx::Result<StoredBody> {
    Ok(StoredBody {
        replica: row.try_get("replica")?,
        sequence: row.try_get("sequence")?,
        call_id: row.try_get("call_id")?,
        kek_id: row.try_get("kek_id")?,
        sealed: row.try_get::<Option<_>, _>("sealed")?.unwrap_or_default(),
    })
}

fn hold(row: &PgRow) -> sqlx::Result<StoredHold> {
    let kind: String = row.try_get("kind")?;
    let on = held_on(&kind, row.try_get("value")?, row.try_get("tenant")?, row.try_get("kek_id")?);
    let on = on.ok_or_else(|| sqlx::Error::Decode(format!("a hold on a {kind:?}").into()))?;
    let hold = LegalHold::decode(row.try_get::<&[u8], _>("hold")?);
    Ok(StoredHold { on, hold: hold.map_err(|error| sqlx::Error::Decode(Box::new(error)))? })
}

/// Whether a hold `h` in force keeps the key `k`.
const KEEPS: &str = "NOT h.is_released AND (
    (h.kind = 'subject' AND h.value = k.subject AND (h.tenant = '' OR h.tenant = k.tenant))
    OR (h.kind = 'tenant' AND h.value = k.tenant)
    OR (h.kind = 'call' AND h.kek_id = k.id))";

/// Names the lock under which bodies are erased and held: a hold counts for every erasure that begins after it.
const BODIES: i64 = 0x746f_6c6c_626f_6479;

/// Names the lock of whoever destroys keys whose time is over.
const EXPIRY: i64 = 0x746f_6c6c_6578_7069;

async fn lock(tx: &mut Tx<'_>) -> sqlx::Result<()> {
    sqlx::query("SELECT pg_advisory_xact_lock($1)").bind(BODIES).execute(&mut **tx).await.map(drop)
}

#[async_trait]
impl Bodies for PostgresStore {
    async fn kek_of(&self, owner: &KekOwner) -> Result<Option<StoredKek>> {
        self.ensure_begun().await?;
        kek_of(&self.pool, owner).await.map_err(failed)
    }

    async fn make_kek(&self, new: &StoredKek) -> Result<StoredKek> {
        self.ensure_begun().await?;
        let made = sqlx::query(
            "INSERT INTO body_kek (id, tenant, subject, month, wrapped) VALUES ($1, $2, $3, $4, $5)
             ON CONFLICT (subject, tenant, month) DO NOTHING",
        )
        .bind(&new.id)
        .bind(&new.owner.tenant)
        .bind(&new.owner.subject)
        .bind(new.owner.month)
        .bind(&new.wrapped)
        .execute(&self.pool)
        .await;
        made.map_err(failed)?;
        let stands = kek_of(&self.pool, &new.owner).await.map_err(failed)?;
        stands.ok_or_else(|| tollgate_store::StoreError::Unavailable("the key was destroyed as it was made".into()))
    }

    async fn kek(&self, id: &str) -> Result<Option<StoredKek>> {
        self.ensure_begun().await?;
        let found = sqlx::query("SELECT * FROM body_kek WHERE id = $1").bind(id).fetch_optional(&self.pool).await;
        found.map_err(failed)?.as_ref().map(kek).transpose().map_err(failed)
    }

    async fn body(&self, call_id: &str) -> Result<Option<StoredBody>> {
        self.ensure_begun().await?;
        let found = "SELECT * FROM audit_body WHERE call_id = $1 LIMIT 1";
        let found = sqlx::query(found).bind(call_id).fetch_optional(&self.pool).await;
        found.map_err(failed)?.as_ref().map(body).transpose().map_err(failed)
    }

    async fn decide_erasure(&self, doomed: &Doomed, decided: Decided<'_>) -> Result<Erased> {
        self.ensure_begun().await?;
        let mut tx = self.pool.begin().await.map_err(failed)?;
        lock(&mut tx).await.map_err(failed)?;
        let erased = foresee(&mut tx, doomed).await.map_err(failed)?;
        if erased.held_by.is_none() {
            decided(&erased);
        }
        // The lock goes with it; nothing was written.
        let _ = tx.rollback().await;
        Ok(erased)
    }

    async fn lead_expiry(&self) -> Result<Option<Lead>> {
        lead(self, EXPIRY).await
    }

    async fn put_hold(&self, hold: &StoredHold) -> Result<()> {
        self.ensure_begun().await?;
        let (kind, value, tenant, kek_id) = hold.on.columns();
        let put = sqlx::query(
            "INSERT INTO body_hold (id, kind, value, tenant, kek_id, is_released, hold) VALUES ($1, $2, $3, $4, $5, $6, $7)
             ON CONFLICT (id) DO UPDATE SET is_released = excluded.is_released, hold = excluded.hold",
        )
        .bind(&hold.hold.id)
        .bind(kind)
        .bind(value)
        .bind(tenant)
        .bind(kek_id)
        .bind(hold.hold.release_time.is_some())
        .bind(hold.hold.encode_to_vec());
        let mut tx = self.pool.begin().await.map_err(failed)?;
        lock(&mut tx).await.map_err(failed)?;
        put.execute(&mut *tx).await.map_err(failed)?;
        tx.commit().await.map_err(failed)
    }

    async fn hold(&self, id: &str) -> Result<Option<StoredHold>> {
        self.ensure_begun().await?;
        let found = sqlx::query("SELECT * FROM body_hold WHERE id = $1").bind(id).fetch_optional(&self.pool).await;
        found.map_err(failed)?.as_ref().map(hold).transpose().map_err(failed)
    }

    async fn holds(&self, with_released: bool, after: &str, limit: i64) -> Result<Vec<StoredHold>> {
        self.ensure_begun().await?;
        let listed = "SELECT * FROM body_hold WHERE id > $1 AND ($2 OR NOT is_released) ORDER BY id LIMIT $3";
        let listed = sqlx::query(listed).bind(after).bind(with_released).bind(limit).fetch_all(&self.pool).await;
        listed.map_err(failed)?.iter().map(hold).collect::<sqlx::Result<_>>().map_err(failed)
    }
}

async fn kek_of(pool: &PgPool, owner: &KekOwner) -> sqlx::Result<Option<StoredKek>> {
    let found = sqlx::query("SELECT * FROM body_kek WHERE subject = $1 AND tenant = $2 AND month = $3")
        .bind(&owner.subject)
        .bind(&owner.tenant)
        .bind(owner.month)
        .fetch_optional(pool)
        .await?;
    found.as_ref().map(kek).transpose()
}

/// The hold that forbids an erasure as a whole.
async fn hold_on(tx: &mut Tx<'_>, doomed: &Doomed) -> sqlx::Result<Option<String>> {
    let (on, value, tenant) = match doomed {
        // Of holds on calls only those on this one.
        Doomed::Call(call_id) => (
            "FROM body_hold AS h JOIN audit_body AS b ON b.call_id = $1 JOIN body_kek AS k ON k.id = b.kek_id
             WHERE (h.kind <> 'call' OR h.value = $1) AND $2 = ''",
            call_id.as_str(),
            "",
        ),
        Doomed::Subject { subject, tenant } => (
            "FROM body_hold AS h CROSS JOIN body_kek AS k WHERE k.subject = $1 AND ($2 = '' OR k.tenant = $2)",
            subject.as_str(),
            tenant.as_str(),
        ),
        // What is held stays, and the rest goes.
        Doomed::Before(_) => return Ok(None),
    };
    let held = format!("SELECT h.id {on} AND {KEEPS} ORDER BY h.id LIMIT 1");
    let held = sqlx::query_scalar(sqlx::AssertSqlSafe(held)).bind(value).bind(tenant);
    held.fetch_optional(&mut **tx).await
}

/// What is to be erased, or the hold that forbids it.
async fn foresee(tx: &mut Tx<'_>, doomed: &Doomed) -> sqlx::Result<Erased> {
    let held_by = hold_on(tx, doomed).await?;
    if held_by.is_some() {
        return Ok(Erased { held_by, ..Erased::default() });
    }
    let kek_ids: Vec<String> = match doomed {
        Doomed::Call(_) => Vec::new(),
        Doomed::Subject { subject, tenant } => {
            let keks = "SELECT id FROM body_kek WHERE subject = $1 AND ($2 = '' OR tenant = $2)";
            sqlx::query_scalar(keks).bind(subject).bind(tenant).fetch_all(&mut **tx).await?
        }
        Doomed::Before(month) => {
            let keks = format!(
                "SELECT id FROM body_kek AS k WHERE month < $1 AND NOT EXISTS (SELECT 1 FROM body_hold AS h WHERE {KEEPS})
                 ORDER BY month, id LIMIT {NAMED_AT_ONCE}"
            );
            sqlx::query_scalar(sqlx::AssertSqlSafe(keks)).bind(month).fetch_all(&mut **tx).await?
        }
    };
    let call_id = if let Doomed::Call(call_id) = doomed { call_id.as_str() } else { "" };
    let kept = "SELECT count(*) FROM audit_body WHERE (kek_id = ANY($1) OR call_id = $2) AND sealed IS NOT NULL";
    let bodies: i64 = sqlx::query_scalar(kept).bind(&kek_ids).bind(call_id).fetch_one(&mut **tx).await?;
    Ok(Erased { kek_ids, bodies: bodies.unsigned_abs(), held_by: None })
}

/// Erases what was decided on.
pub(crate) async fn erase(tx: &mut Tx<'_>, erasures: &[&Erasure]) -> sqlx::Result<()> {
    for erasure in erasures {
        let gone = "DELETE FROM body_kek WHERE id = ANY($1)";
        sqlx::query(gone).bind(&erasure.kek_ids).execute(&mut **tx).await?;
        let gone =
            "UPDATE audit_body SET sealed = NULL WHERE (kek_id = ANY($1) OR call_id = $2) AND sealed IS NOT NULL";
        sqlx::query(gone).bind(&erasure.kek_ids).bind(&erasure.call_id).execute(&mut **tx).await?;
    }
    Ok(())
}

/// Keeps bodies that are not known yet; of those whose key is gone only that they were.
pub(crate) async fn append(tx: &mut Tx<'_>, bodies: &[&StoredBody]) -> sqlx::Result<()> {
    if bodies.is_empty() {
        return Ok(());
    }
    sqlx::query(
        "INSERT INTO audit_body (replica, sequence, call_id, kek_id, sealed)
         SELECT b.replica, b.sequence, b.call_id, b.kek_id, CASE WHEN k.id IS NOT NULL THEN b.sealed END
         FROM unnest($1::text[], $2::bigint[], $3::text[], $4::text[], $5::bytea[]) AS b (replica, sequence, call_id, kek_id, sealed)
         LEFT JOIN body_kek AS k ON k.id = b.kek_id
         ON CONFLICT (replica, sequence) DO NOTHING",
    )
    .bind(bodies.iter().map(|b| b.replica.as_str()).collect::<Vec<_>>())
    .bind(bodies.iter().map(|b| b.sequence).collect::<Vec<_>>())
    .bind(bodies.iter().map(|b| b.call_id.as_str()).collect::<Vec<_>>())
    .bind(bodies.iter().map(|b| b.kek_id.as_str()).collect::<Vec<_>>())
    .bind(bodies.iter().map(|b| b.sealed.as_slice()).collect::<Vec<_>>())
    .execute(&mut **tx)
    .await?;
    Ok(())
}
