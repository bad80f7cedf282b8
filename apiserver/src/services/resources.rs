//! `gantry.api.v1.Resources`: reads, and where writes go on to.

use std::pin::Pin;
use std::sync::Arc;

use futures::Stream;
use gantry_proto::api::v1::resources_server::Resources;
use gantry_proto::api::v1::{self as api, View};
use gantry_proto::meta::v1::Status;
use gantry_proto::selector::{FieldOperator, FieldSelector};
use gantry_proto::status::Reason;
use gantry_proto::{Key, KindInfo};
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response};

use super::addressed::Addressed;
use super::audited::AuditedReply;
use super::{discovery, open, refuse};
use crate::cache::{Cache, ListOptions, Page, Selection};
use crate::codec;
use crate::kinds::names;
use crate::metrics::{self, Metrics};
use crate::registry::{Endpoint, Registry, Written, bad_request, no_such_resource, not_allowed};
use crate::request::{Attributes, Caller, Verb};

/// Serves every kind.
#[derive(Clone)]
pub struct ResourcesService {
    pub registry: Arc<Registry>,
    pub metrics: Metrics,
    /// Ends the watches.
    pub shutdown: CancellationToken,
}

/// What a request for one object is about.
pub(super) struct Place<'a> {
    pub cache: &'a Arc<Cache>,
    pub key: Key,
}

impl Place<'_> {
    pub fn kind(&self) -> &'static KindInfo {
        self.cache.kind()
    }

    /// What is authorized.
    pub fn attributes<'b>(&'b self, verb: Verb, subresource: &'b str) -> Attributes<'b> {
        Attributes {
            verb,
            kind: self.kind(),
            subresource,
            namespace: &self.key.namespace,
            name: &self.key.name,
            fixed_fields: &[],
        }
    }
}

impl ResourcesService {
    /// The object that a request names. A namespace given for a kind without is ignored.
    pub(super) fn place(&self, resource: &str, namespace: &str, name: &str) -> Result<Place<'_>, Status> {
        let cache = self.registry.cache_of(resource)?;
        if name.is_empty() {
            return Err(bad_request("resource name may not be empty"));
        }
        let namespaced = cache.kind().namespaced;
        if namespaced && namespace.is_empty() {
            return Err(bad_request(
                "an empty namespace may not be set when a resource name is provided",
            ));
        }
        let namespace = if namespaced { namespace } else { "" };
        check_segment("Name", name)?;
        check_segment("Namespace", namespace)?;
        Ok(Place {
            cache,
            key: Key::new(namespace, name),
        })
    }

    /// An object as a reply, through the endpoint that the request named.
    pub(super) fn reply(
        &self,
        cache: &Cache,
        subresource: &str,
        written: Written,
        view: View,
    ) -> Result<api::ObjectReply, Status> {
        let object = if subresource == "scale" {
            let object = cache
                .strategy()
                .decode(&written.raw)
                .map_err(|error| bad_request(error.to_string()))?;
            let scale = cache.strategy().scale(&*object).ok_or_else(no_such_resource)?;
            codec::shown_scale(&scale, view)?
        } else {
            codec::shown(written.message, written.raw, view)?
        };
        Ok(api::ObjectReply {
            object: Some(object),
            warnings: written.warnings,
        })
    }

    async fn read(&self, caller: &Caller, request: api::GetRequest) -> Result<api::ObjectReply, Status> {
        let place = self.place(&request.resource, &request.namespace, &request.name)?;
        let view = request.view();
        let subresource = request.subresource.as_str();
        self.registry
            .authorize(caller, &place.attributes(Verb::Get, subresource))
            .await?;
        if Endpoint::parse(place.kind(), subresource)? == Endpoint::Finalize {
            return Err(not_allowed());
        }
        let written = self
            .registry
            .read_at(place.cache, &place.key, &request.resource_version)
            .await?;
        self.reply(place.cache, subresource, written, view)
    }

    async fn list_page(&self, caller: &Caller, request: api::ListRequest) -> Result<api::ListReply, Status> {
        let (cache, selection) = self
            .select(
                caller,
                Verb::List,
                &request.resource,
                &request.namespace,
                &request.label_selector,
                &request.field_selector,
            )
            .await?;
        let options = ListOptions {
            resource_version: &request.resource_version,
            resource_version_match: &request.resource_version_match,
            limit: request.limit,
            r#continue: &request.r#continue,
        };
        let page = cache.list(&selection, &options, caller.now).await?;
        listed(cache.kind(), page, request.view())
    }

    /// What a list or watch is about, once its caller may have it.
    pub(super) async fn select(
        &self,
        caller: &Caller,
        verb: Verb,
        resource: &str,
        namespace: &str,
        labels: &str,
        fields: &str,
    ) -> Result<(&Arc<Cache>, Selection), Status> {
        let cache = self.registry.cache_of(resource)?;
        let namespace = if cache.kind().namespaced { namespace } else { "" };
        let fixed_fields = fixed_fields(fields);
        let attributes = Attributes {
            verb,
            kind: cache.kind(),
            subresource: "",
            namespace,
            name: "",
            fixed_fields: &fixed_fields,
        };
        self.registry.authorize(caller, &attributes).await?;
        let selection = Selection::parse(cache.strategy(), namespace, labels, fields)?;
        Ok((cache, selection))
    }

    /// Answers a request that is counted as `request`.
    async fn answer<T: AuditedReply>(
        &self,
        caller: &Caller,
        verb: Verb,
        request: &metrics::Request,
        work: impl Future<Output = Result<T, Status>>,
    ) -> Result<Response<T>, tonic::Status> {
        let pending = self.metrics.pending(request).after(caller.waited);
        let result = {
            let _counted = self.metrics.begin(request);
            work.await
        };
        let done = if verb == Verb::Create { 201 } else { 200 };
        let code = result.as_ref().map_or_else(|status| status.code, |_| done);
        pending.answered(code);
        if let Ok(reply) = &result {
            caller.trail.about(|| reply.about());
            caller.trail.response(|| reply.body());
        }
        result.map(Response::new).map_err(refuse)
    }

    /// As [`ResourcesService::answer`], for what is read: the answer's size is counted, too.
    async fn answer_read<T: prost::Message + AuditedReply>(
        &self,
        caller: &Caller,
        verb: Verb,
        request: &metrics::Request,
        work: impl Future<Output = Result<T, Status>>,
    ) -> Result<Response<T>, tonic::Status> {
        let answer = self.answer(caller, verb, request, work).await?;
        self.metrics.answer_size(request, answer.get_ref().encoded_len());
        Ok(answer)
    }
}

/// A list as a reply.
pub(super) fn listed(info: &'static KindInfo, page: Page, view: View) -> Result<api::ListReply, Status> {
    let items = page
        .entries
        .iter()
        .map(|entry| codec::shown(info.message, entry.raw.clone(), view))
        .collect::<Result<_, _>>()?;
    Ok(api::ListReply {
        items,
        resource_version: page.revision.to_string(),
        r#continue: page.token,
        remaining_item_count: page.remaining,
        api_version: info.api_version(),
        kind: format!("{}List", info.kind),
    })
}

/// Refuses what cannot be a part of a key (apiserver/pkg/registry/generic/registry/store.go, NamespaceKeyFunc).
fn check_segment(what: &str, segment: &str) -> Result<(), Status> {
    let complaints = names::path_segment(segment);
    if complaints.is_empty() {
        return Ok(());
    }
    Err(bad_request(format!(
        "{what} parameter invalid: {segment:?}: {}",
        complaints.join(";")
    )))
}

/// As what a request is counted.
fn counted<R: Addressed>(request: &R) -> (Verb, metrics::Request) {
    let at = request.address();
    let counted = metrics::Request::new(R::VERB, at.kind, at.subresource, at.namespace, at.name);
    (R::VERB, counted.dry(request.is_dry()))
}

/// The fields that a selector fixes to one value. A selector that does not parse fixes none.
fn fixed_fields(selector: &str) -> Vec<(String, String)> {
    let Ok(selector) = FieldSelector::parse(selector) else {
        return Vec::new();
    };
    let requirements = selector.requirements().iter();
    let equal = requirements.filter(|requirement| requirement.operator == FieldOperator::Equals);
    equal
        .map(|requirement| (requirement.field.clone(), requirement.value.clone()))
        .collect()
}

/// Refuses what is larger than Kubernetes reads.
pub(super) fn check_size(request: &impl prost::Message) -> Result<(), Status> {
    if request.encoded_len() <= super::MAX_REQUEST_BYTES {
        return Ok(());
    }
    Err(Status::failure(
        Reason::RequestEntityTooLarge,
        format!("Request entity too large: limit is {}", super::MAX_REQUEST_BYTES),
    ))
}

pub type WatchStream = Pin<Box<dyn Stream<Item = Result<api::WatchReply, tonic::Status>> + Send>>;

#[tonic::async_trait]
impl Resources for ResourcesService {
    async fn discover(
        &self,
        _request: Request<api::DiscoverRequest>,
    ) -> Result<Response<api::DiscoverReply>, tonic::Status> {
        let request = metrics::Request::of_method("/gantry.api.v1.Resources/Discover");
        let pending = self.metrics.pending(&request);
        let found = discovery::discover(self.registry.caches().map(|cache| cache.kind()));
        pending.answered(200);
        Ok(Response::new(found))
    }

    async fn get(
        &self,
        request: Request<api::GetRequest>,
    ) -> Result<Response<api::ObjectReply>, tonic::Status> {
        let (caller, request) = open(request);
        let (verb, counted) = counted(&request);
        self.answer_read(&caller, verb, &counted, self.read(&caller, request))
            .await
    }

    async fn list(
        &self,
        request: Request<api::ListRequest>,
    ) -> Result<Response<api::ListReply>, tonic::Status> {
        let (caller, request) = open(request);
        let (verb, counted) = counted(&request);
        self.answer_read(&caller, verb, &counted, self.list_page(&caller, request))
            .await
    }

    type WatchStream = WatchStream;

    async fn watch(
        &self,
        request: Request<api::WatchRequest>,
    ) -> Result<Response<WatchStream>, tonic::Status> {
        let (caller, request) = open(request);
        let (verb, counted) = counted(&request);
        self.answer(&caller, verb, &counted, self.open_watch(&caller, request))
            .await
    }

    async fn create(
        &self,
        request: Request<api::CreateRequest>,
    ) -> Result<Response<api::ObjectReply>, tonic::Status> {
        let (caller, request) = open(request);
        let (verb, counted) = counted(&request);
        self.answer(&caller, verb, &counted, self.create_object(&caller, request))
            .await
    }

    async fn update(
        &self,
        request: Request<api::UpdateRequest>,
    ) -> Result<Response<api::ObjectReply>, tonic::Status> {
        let (caller, request) = open(request);
        let (verb, counted) = counted(&request);
        self.answer(&caller, verb, &counted, self.update_object(&caller, request))
            .await
    }

    async fn patch(
        &self,
        request: Request<api::PatchRequest>,
    ) -> Result<Response<api::ObjectReply>, tonic::Status> {
        let (caller, request) = open(request);
        let (verb, counted) = counted(&request);
        self.answer(&caller, verb, &counted, self.patch_object(&caller, request))
            .await
    }

    async fn delete(
        &self,
        request: Request<api::DeleteRequest>,
    ) -> Result<Response<api::ObjectReply>, tonic::Status> {
        let (caller, request) = open(request);
        let (verb, counted) = counted(&request);
        self.answer(&caller, verb, &counted, self.delete_object(&caller, request))
            .await
    }

    async fn delete_collection(
        &self,
        request: Request<api::DeleteCollectionRequest>,
    ) -> Result<Response<api::ListReply>, tonic::Status> {
        let (caller, request) = open(request);
        let (verb, counted) = counted(&request);
        self.answer(&caller, verb, &counted, self.delete_objects(&caller, request))
            .await
    }
}
