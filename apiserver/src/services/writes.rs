//! Create, update, patch and delete: from the request's form to the registry's.
//!
//! A request is authorized by what it says of itself, or by the name and namespace in its object where it says
//! nothing; only then is its object decoded.

use gantry_proto::api::v1 as api;
use gantry_proto::core::v1::{Binding, Pod};
use gantry_proto::meta::v1::Status;
use gantry_proto::policy::v1::Eviction;
use gantry_proto::status::Reason;
use gantry_proto::{Key, Kind as _, KindInfo};

use super::resources::{Place, ResourcesService, check_size, listed};
use crate::codec::{Given, Validation};
use crate::registry::{
    Change, CollectionDeletion, Creation, Deletion, Endpoint, MODIFIED, Patch, Proposal, Update, Writer,
    Written, creates_by_update, deletes_collections, no_such_resource, not_allowed, settle_namespace,
};
use crate::request::{Attributes, Caller, Verb};

/// How often an object may come and go under an update that creates what is missing.
const UPDATE_OR_CREATE_ATTEMPTS: usize = 5;

impl ResourcesService {
    pub(super) async fn create_object(
        &self,
        caller: &Caller,
        mut request: api::CreateRequest,
    ) -> Result<api::ObjectReply, Status> {
        check_size(&request)?;
        let given = Given::of(request.object.take())?;
        let info = kind_of(&request.resource, &given)?;
        let is_pod = info.message == Pod::INFO.message;
        match request.subresource.as_str() {
            "binding" if is_pod => return self.create_binding(caller, &request, &given).await,
            "eviction" if is_pod => return self.create_eviction(caller, &request, &given).await,
            "" if info.message == Binding::INFO.message => {
                return self.create_binding(caller, &request, &given).await;
            }
            "" if info.message == Eviction::INFO.message => {
                return self.create_eviction(caller, &request, &given).await;
            }
            "" => {}
            _ => return Err(no_such_resource()),
        }
        let cache = self.registry.cache_of(&info.group_resource())?;
        let validation = Validation::from(request.field_validation());
        let view = given.view(request.view());
        let own = given.key();
        let attributes = Attributes {
            verb: Verb::Create,
            kind: info,
            subresource: "",
            namespace: match info.namespaced {
                true => either(&request.namespace, &own.namespace),
                false => "",
            },
            name: &own.name,
            fixed_fields: &[],
        };
        self.registry.authorize(caller, &attributes).await?;
        let (mut object, complaints) = given.decode(cache.strategy(), validation)?;
        settle_namespace(info, &request.namespace, object.metadata_mut())?;
        let creation = Creation {
            object,
            writer: writer(caller, request.fence),
            dry_run: request.dry_run,
            now: caller.now,
        };
        let mut written = self.registry.create(cache, creation).await?;
        written.warnings.splice(0..0, complaints);
        self.reply(cache, "", written, view)
    }

    pub(super) async fn update_object(
        &self,
        caller: &Caller,
        mut request: api::UpdateRequest,
    ) -> Result<api::ObjectReply, Status> {
        check_size(&request)?;
        let given = Given::of(request.object.take())?;
        let info = kind_of(&request.resource, &given)?;
        let own = given.key();
        let place = self.place(
            &info.group_resource(),
            either(&request.namespace, &own.namespace),
            either(&request.name, &own.name),
        )?;
        self.registry
            .authorize(caller, &place.attributes(Verb::Update, &request.subresource))
            .await?;
        let cache = place.cache;
        let endpoint = Endpoint::parse(info, &request.subresource)?;
        let validation = Validation::from(request.field_validation());
        let view = given.view(request.view());
        let (mut proposal, complaints) = if endpoint == Endpoint::Scale {
            (Proposal::Scale(Box::new(given.decode_scale()?)), Vec::new())
        } else {
            let (object, complaints) = given.decode(cache.strategy(), validation)?;
            (Proposal::Object(object), complaints)
        };
        settle_namespace(info, &place.key.namespace, proposal.metadata_mut())?;
        let update = Update {
            key: place.key.clone(),
            endpoint,
            proposal,
            writer: writer(caller, request.fence),
            dry_run: request.dry_run,
            now: caller.now,
        };
        let mut written = if endpoint == Endpoint::Main && creates_by_update(info) {
            self.update_or_create(caller, &place, update).await?
        } else {
            self.registry.update(cache, update).await?
        };
        written.warnings.splice(0..0, complaints);
        self.reply(cache, &request.subresource, written, view)
    }

    /// Some kinds are also created by an update of what is not there, if their writer may create.
    async fn update_or_create(
        &self,
        caller: &Caller,
        place: &Place<'_>,
        update: Update,
    ) -> Result<Written, Status> {
        for _ in 0..UPDATE_OR_CREATE_ATTEMPTS {
            match self.registry.update(place.cache, update.clone()).await {
                Err(status) if status.reason_code() == Reason::NotFound => {}
                result => return result,
            }
            self.registry
                .authorize(caller, &place.attributes(Verb::Create, ""))
                .await?;
            match self.registry.create_by_update(place.cache, update.clone()).await {
                // Somebody else made it meanwhile.
                Err(status) if status.reason_code() == Reason::AlreadyExists => {}
                result => return result,
            }
        }
        Err(Status::conflict(place.kind(), &place.key.name, MODIFIED))
    }

    pub(super) async fn patch_object(
        &self,
        caller: &Caller,
        request: api::PatchRequest,
    ) -> Result<api::ObjectReply, Status> {
        check_size(&request)?;
        let place = self.place(&request.resource, &request.namespace, &request.name)?;
        self.registry
            .authorize(caller, &place.attributes(Verb::Patch, &request.subresource))
            .await?;
        let endpoint = Endpoint::parse(place.kind(), &request.subresource)?;
        if endpoint == Endpoint::Finalize {
            return Err(not_allowed());
        }
        let validation = Validation::from(request.field_validation());
        let patch = Patch {
            key: place.key.clone(),
            endpoint,
            change: Change::parse(request.r#type(), &request.patch, validation)?,
            validation,
            writer: writer(caller, request.fence.clone()),
            dry_run: request.dry_run,
            now: caller.now,
        };
        let written = self.registry.patch(place.cache, patch).await?;
        self.reply(place.cache, &request.subresource, written, request.view())
    }

    pub(super) async fn delete_object(
        &self,
        caller: &Caller,
        request: api::DeleteRequest,
    ) -> Result<api::ObjectReply, Status> {
        check_size(&request)?;
        let place: Place<'_> = self.place(&request.resource, &request.namespace, &request.name)?;
        self.registry
            .authorize(caller, &place.attributes(Verb::Delete, ""))
            .await?;
        let view = request.view();
        let deletion = Deletion {
            key: place.key.clone(),
            options: request.options.unwrap_or_default(),
            writer: writer(caller, request.fence),
            now: caller.now,
        };
        let written = self.registry.delete(place.cache, deletion).await?;
        self.reply(place.cache, "", written, view)
    }

    pub(super) async fn delete_objects(
        &self,
        caller: &Caller,
        request: api::DeleteCollectionRequest,
    ) -> Result<api::ListReply, Status> {
        check_size(&request)?;
        let (cache, selection) = self
            .select(
                caller,
                Verb::DeleteCollection,
                &request.resource,
                &request.namespace,
                &request.label_selector,
                &request.field_selector,
            )
            .await?;
        let info = cache.kind();
        if !deletes_collections(info) || (info.namespaced && selection.namespace.is_empty()) {
            return Err(not_allowed());
        }
        let view = request.view();
        let deletion = CollectionDeletion {
            selection,
            options: request.options.unwrap_or_default(),
            writer: writer(caller, request.fence),
            now: caller.now,
        };
        let page = self.registry.delete_collection(cache, deletion).await?;
        listed(info, page, view)
    }
}

/// The kind that a request names, or else its object.
fn kind_of(resource: &str, given: &Given) -> Result<&'static KindInfo, Status> {
    match resource {
        "" => given.kind(),
        resource => KindInfo::of_resource(resource).ok_or_else(no_such_resource),
    }
}

/// What the request says, or else its object.
pub(super) fn either<'a>(request: &'a str, object: &'a str) -> &'a str {
    if request.is_empty() { object } else { request }
}

/// Where a request about a pod's subresource points.
pub(super) fn pod_key(request: &api::CreateRequest, given: &Given) -> Key {
    let own = given.key();
    Key::new(
        either(&request.namespace, &own.namespace),
        either(&request.name, &own.name),
    )
}

pub(super) fn writer(caller: &Caller, fence: Option<api::Fence>) -> Writer {
    Writer {
        user: caller.user.clone(),
        fence,
    }
}
