//! What a client may send about tags: every field of the official document, and no other.
//! The region gives the fields their meaning; `known` refuses what is not listed here.

use super::known::object;

object! {
    /// `ResourceTag`, as part of a request.
    ResourceTag {
        [key: String],
        [value: String],
    }
}

object! {
    /// Parameters of `CreateTags`.
    CreateTagsRequest {
        dry_run: bool,
        [resource_ids: Vec<String>],
        [tags: Vec<ResourceTag>],
    }
}

object! {
    /// Filters of the call that reads `Tag` objects.
    FiltersTag {
        keys: Vec<String>,
        resource_ids: Vec<String>,
        resource_types: Vec<String>,
        values: Vec<String>,
    }
}

object! {
    /// Parameters of `ReadTags`.
    ReadTagsRequest {
        dry_run: bool,
        filters: FiltersTag,
        next_page_token: String,
        results_per_page: i64,
    }
}

object! {
    /// Parameters of `DeleteTags`.
    DeleteTagsRequest {
        dry_run: bool,
        [resource_ids: Vec<String>],
        [tags: Vec<ResourceTag>],
    }
}
