//! Create, update, patch and delete: from the request's form to the registry's.

use gantry_proto::api::v1 as api;
use gantry_proto::core::v1::{Binding, Pod};
use gantry_proto::meta::v1::{ObjectMeta, Status};
use gantry_proto::{Key, Kind as _, KindInfo, json};
use prost::Message as _;

use super::resources::{Place, ResourcesService, check_size};
use crate::codec::{Given, Validation};
use crate::registry::{
    Creation, Deletion, Endpoint, Patch, Proposal, Update, Writer, bad_request, no_such_resource,
};
use crate::request::{Attributes, Caller, Verb};

impl ResourcesService {
    pub(super) async fn create_object(
        &self,
        caller: &Caller,
        mut request: api::CreateRequest,
    ) -> Result<api::ObjectReply, Status> {
        check_size(&request)?;
        let validation = Validation::from(request.field_validation());
        let wanted_view = request.view();
        let given = Given::of(request.object.take())?;
        let view = given.view(wanted_view);
        let info = match request.resource.as_str() {
            "" => given.kind()?,
            resource => KindInfo::of_resource(resource).ok_or_else(no_such_resource)?,
        };
        let binds = info.message == Pod::INFO.message && request.subresource == "binding";
        if info.message == Binding::INFO.message || binds {
            return self.create_binding(caller, &request, &given, view).await;
        }
        if !request.subresource.is_empty() {
            return Err(no_such_resource());
        }
        let cache = self.registry.cache_of(&info.group_resource())?;
        let (mut object, complaints) = given.decode(cache.strategy(), validation)?;
        place_new(info, &request.namespace, object.metadata_mut())?;
        let attributes = Attributes {
            verb: Verb::Create,
            kind: info,
            subresource: "",
            namespace: &object.metadata().namespace,
            name: &object.metadata().name,
            fixed_fields: &[],
        };
        self.registry.authorize(caller, &attributes).await?;
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

    async fn create_binding(
        &self,
        caller: &Caller,
        request: &api::CreateRequest,
        given: &Given,
        view: api::View,
    ) -> Result<api::ObjectReply, Status> {
        let binding = decode_binding(given)?;
        let own = Binding::metadata(&binding);
        let pick = |request: &str, own: &str| {
            if request.is_empty() {
                own.to_owned()
            } else {
                request.to_owned()
            }
        };
        let key = Key::new(
            pick(&request.namespace, &own.namespace),
            pick(&request.name, &own.name),
        );
        let place = self.place("pods", &key.namespace, &key.name)?;
        self.registry
            .authorize(caller, &place.attributes(Verb::Create, "binding"))
            .await?;
        let written = self
            .registry
            .bind(
                &key,
                binding,
                &writer(caller, request.fence.clone()),
                request.dry_run,
                caller.now,
            )
            .await?;
        self.reply(place.cache, "binding", written, view)
    }

    pub(super) async fn update_object(
        &self,
        caller: &Caller,
        mut request: api::UpdateRequest,
    ) -> Result<api::ObjectReply, Status> {
        check_size(&request)?;
        let validation = Validation::from(request.field_validation());
        let given = Given::of(request.object.take())?;
        let view = given.view(request.view());
        let info = match request.resource.as_str() {
            "" => given.kind()?,
            resource => KindInfo::of_resource(resource).ok_or_else(no_such_resource)?,
        };
        let cache = self.registry.cache_of(&info.group_resource())?;
        let endpoint = Endpoint::parse(info, &request.subresource)?;
        let (proposal, complaints) = if endpoint == Endpoint::Scale {
            (Proposal::Scale(Box::new(given.decode_scale()?)), Vec::new())
        } else {
            let (object, complaints) = given.decode(cache.strategy(), validation)?;
            (Proposal::Object(object), complaints)
        };
        let own = proposal.metadata();
        let pick = |request: &str, own: &str| {
            if request.is_empty() {
                own.to_owned()
            } else {
                request.to_owned()
            }
        };
        let (namespace, name) = (
            pick(&request.namespace, &own.namespace),
            pick(&request.name, &own.name),
        );
        let place = self.place(&info.group_resource(), &namespace, &name)?;
        self.registry
            .authorize(caller, &place.attributes(Verb::Update, &request.subresource))
            .await?;
        let update = Update {
            key: place.key.clone(),
            endpoint,
            proposal,
            writer: writer(caller, request.fence),
            dry_run: request.dry_run,
            now: caller.now,
        };
        let mut written = self.registry.update(cache, update).await?;
        written.warnings.splice(0..0, complaints);
        self.reply(cache, &request.subresource, written, view)
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
        let patch = Patch {
            key: place.key.clone(),
            endpoint: Endpoint::parse(place.kind(), &request.subresource)?,
            kind: request.r#type(),
            patch: serde_json::from_slice(&request.patch)
                .map_err(|error| bad_request(format!("error decoding patch: {error}")))?,
            validation: Validation::from(request.field_validation()),
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
}

fn writer(caller: &Caller, fence: Option<api::Fence>) -> Writer {
    Writer {
        user: caller.user.clone(),
        fence,
    }
}

/// Settles the namespace of a new object from the request's and its own.
fn place_new(info: &KindInfo, namespace: &str, metadata: &mut ObjectMeta) -> Result<(), Status> {
    if !info.namespaced {
        metadata.namespace.clear();
        return Ok(());
    }
    if namespace.is_empty() {
        return Ok(());
    }
    if metadata.namespace.is_empty() {
        metadata.namespace = namespace.to_owned();
    }
    if metadata.namespace == namespace {
        return Ok(());
    }
    Err(bad_request(
        "the namespace of the provided object does not match the namespace sent on the request",
    ))
}

fn decode_binding(given: &Given) -> Result<Binding, Status> {
    match given {
        Given::Json(value) => {
            let decoded =
                json::decode_value::<Binding>(value).map_err(|error| bad_request(error.to_string()))?;
            Ok(decoded.object)
        }
        Given::Wire { message, raw } if message == Binding::INFO.message => Binding::decode(&**raw)
            .map_err(|error| bad_request(format!("the Binding does not decode: {error}"))),
        Given::Wire { message, .. } => Err(bad_request(format!("{message} cannot be handled as a Binding"))),
    }
}
