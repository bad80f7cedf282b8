//! Bindings and evictions: what is written to a pod's subresources.

use gantry_proto::Kind as _;
use gantry_proto::api::v1 as api;
use gantry_proto::core::v1::{Binding, Pod};
use gantry_proto::meta::v1::Status;
use gantry_proto::policy::v1::Eviction;

use super::resources::ResourcesService;
use super::writes::{pod_key, writer};
use crate::codec::{Given, Validation};
use crate::registry::{Evicting, settle_namespace};
use crate::request::{Caller, Verb};

impl ResourcesService {
    pub(super) async fn create_binding(
        &self,
        caller: &Caller,
        request: &api::CreateRequest,
        given: &Given,
    ) -> Result<api::ObjectReply, Status> {
        let key = pod_key(request, given);
        let place = self.place(Pod::INFO.resource, &key.namespace, &key.name)?;
        self.registry
            .authorize(caller, &place.attributes(Verb::Create, "binding"))
            .await?;
        let validation = Validation::from(request.field_validation());
        let (mut binding, complaints) = given.decode_sent::<Binding>(validation)?;
        settle_namespace(Binding::INFO, &key.namespace, binding.metadata_mut())?;
        let writer = writer(caller, request.fence.clone());
        let bound = self
            .registry
            .bind(&key, binding, &writer, request.dry_run, caller.now);
        let mut written = bound.await?;
        written.warnings.extend(complaints);
        self.reply(place.cache, "binding", written, given.view(request.view()))
    }

    pub(super) async fn create_eviction(
        &self,
        caller: &Caller,
        request: &api::CreateRequest,
        given: &Given,
    ) -> Result<api::ObjectReply, Status> {
        let key = pod_key(request, given);
        let place = self.place(Pod::INFO.resource, &key.namespace, &key.name)?;
        self.registry
            .authorize(caller, &place.attributes(Verb::Create, "eviction"))
            .await?;
        let validation = Validation::from(request.field_validation());
        let (mut eviction, complaints) = given.decode_sent::<Eviction>(validation)?;
        settle_namespace(Eviction::INFO, &key.namespace, eviction.metadata_mut())?;
        let evicting = Evicting {
            key,
            eviction,
            writer: writer(caller, request.fence.clone()),
            dry_run: request.dry_run,
            now: caller.now,
        };
        let mut written = self.registry.evict(evicting).await?;
        written.warnings.extend(complaints);
        self.reply(place.cache, "eviction", written, given.view(request.view()))
    }
}
