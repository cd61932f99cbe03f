//! `checksum`: writes a line for each of the artifact's files, which become more by the files it writes.

use md5::Md5;
use sha1::Sha1;
use sha2::{Digest, Sha224, Sha256, Sha384, Sha512};

use super::{Done, Failure, Product, Shelf, Work, base_name};
use crate::domain::post_processor::{ChecksumPlan, ChecksumType};

pub(super) async fn run<S: Shelf>(
    plan: &ChecksumPlan,
    input: &Product,
    work: &mut Work<'_, S>,
) -> Done<Product, S::Error> {
    if input.files.is_empty() {
        work.cx.output.say("an OMI has no files, so there is nothing to sum").await;
        return Ok(input.clone());
    }
    let mut product = input.clone();
    for kind in &plan.types {
        let extra = [
            ("BuildName", work.cx.build_name),
            ("BuilderType", work.cx.builder_type),
            ("ChecksumType", kind.as_str()),
        ];
        let output = work.path("output", &plan.output, &extra)?;
        let mut lines = work.sums.remove(&output).unwrap_or_default();
        for file in &input.files {
            let data = work.cx.shelf.load(&file.path).await.map_err(Failure::Shelf)?;
            let data =
                data.ok_or_else(|| Failure::because(format!("`{}` is not there any more", file.path)))?;
            lines.extend(format!("{}\t{}\n", sum(*kind, &data), base_name(&file.path)).into_bytes());
        }
        let written = work.write(&output, lines.clone()).await?;
        work.cx.output.say(&format!("wrote {} checksums to {output}", kind.as_str())).await;
        work.sums.insert(output, lines);
        product.files.retain(|file| file.path != written.path);
        product.files.push(written);
    }
    Ok(product)
}

fn sum(kind: ChecksumType, data: &[u8]) -> String {
    match kind {
        ChecksumType::Md5 => hex::encode(Md5::digest(data)),
        ChecksumType::Sha1 => hex::encode(Sha1::digest(data)),
        ChecksumType::Sha224 => hex::encode(Sha224::digest(data)),
        ChecksumType::Sha256 => hex::encode(Sha256::digest(data)),
        ChecksumType::Sha384 => hex::encode(Sha384::digest(data)),
        ChecksumType::Sha512 => hex::encode(Sha512::digest(data)),
    }
}
