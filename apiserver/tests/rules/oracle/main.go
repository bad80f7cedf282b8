// Asks Kubernetes' own strategies what they make of the objects in the cases on standard input, and writes the
// cases with their answers, as kubernetes.jsonl has them: `./ask <cases.jsonl >kubernetes.jsonl` for cases with
// name, new, old and status. It is no part of any build.
//
//	go mod init oracle, require k8s.io/kubernetes at the version to compare with, and replace each k8s.io module
//	that its go.mod takes from ./staging by the published one;
//	copy alloc.go, storage.go and transaction.go of pkg/registry/core/service/storage into svc/, as package svc;
//	go build -o ask .
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"slices"

	"k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/runtime/serializer/protobuf"
	"k8s.io/apiserver/pkg/endpoints/deprecation"
	genericrequest "k8s.io/apiserver/pkg/endpoints/request"
	"k8s.io/apiserver/pkg/registry/rest"
	"k8s.io/kubernetes/pkg/api/legacyscheme"
	_ "k8s.io/kubernetes/pkg/apis/apps/install"
	_ "k8s.io/kubernetes/pkg/apis/coordination/install"
	api "k8s.io/kubernetes/pkg/apis/core"
	_ "k8s.io/kubernetes/pkg/apis/core/install"
	_ "k8s.io/kubernetes/pkg/apis/discovery/install"
	_ "k8s.io/kubernetes/pkg/apis/networking/install"
	_ "k8s.io/kubernetes/pkg/apis/policy/install"
	_ "k8s.io/kubernetes/pkg/apis/scheduling/install"
	"k8s.io/kubernetes/pkg/capabilities"
	"k8s.io/kubernetes/pkg/registry/apps/controllerrevision"
	"k8s.io/kubernetes/pkg/registry/apps/deployment"
	"k8s.io/kubernetes/pkg/registry/apps/replicaset"
	"k8s.io/kubernetes/pkg/registry/coordination/lease"
	"k8s.io/kubernetes/pkg/registry/core/configmap"
	"k8s.io/kubernetes/pkg/registry/core/endpoint"
	"k8s.io/kubernetes/pkg/registry/core/event"
	"k8s.io/kubernetes/pkg/registry/core/namespace"
	"k8s.io/kubernetes/pkg/registry/core/node"
	"k8s.io/kubernetes/pkg/registry/core/pod"
	"k8s.io/kubernetes/pkg/registry/core/podtemplate"
	"k8s.io/kubernetes/pkg/registry/core/secret"
	"k8s.io/kubernetes/pkg/registry/core/service"
	"k8s.io/kubernetes/pkg/registry/core/serviceaccount"
	"k8s.io/kubernetes/pkg/registry/discovery/endpointslice"
	"k8s.io/kubernetes/pkg/registry/networking/ipaddress"
	"k8s.io/kubernetes/pkg/registry/networking/servicecidr"
	"k8s.io/kubernetes/pkg/registry/policy/poddisruptionbudget"
	"k8s.io/kubernetes/pkg/registry/scheduling/priorityclass"
	"oracle/svc"
)

type in struct {
	Name   string          `json:"name"`
	Status bool            `json:"status"`
	New    json.RawMessage `json:"new"`
	Old    json.RawMessage `json:"old"`
}
type out struct {
	Name     string          `json:"name"`
	New      json.RawMessage `json:"new"`
	Old      json.RawMessage `json:"old,omitempty"`
	Status   bool            `json:"status,omitempty"`
	Error    string          `json:"error,omitempty"`
	Causes   []string        `json:"causes,omitempty"`
	Warnings []string        `json:"warnings,omitempty"`
	Object   json.RawMessage `json:"object,omitempty"`
}

func decode(b []byte) (runtime.Object, error) {
	return runtime.Decode(legacyscheme.Codecs.UniversalDecoder(), b)
}

func main() {
	capabilities.Setup(true, 0)
	pb := protobuf.NewSerializer(legacyscheme.Scheme, legacyscheme.Scheme)
	creates := map[string]rest.RESTCreateStrategy{
		"Pod": pod.Strategy, "Service": service.Strategy, "Deployment": deployment.Strategy, "ReplicaSet": replicaset.Strategy,
		"Lease": lease.Strategy, "ConfigMap": configmap.Strategy, "Event": event.Strategy, "Namespace": namespace.Strategy,
		"Node": node.Strategy, "Secret": secret.Strategy, "ServiceAccount": serviceaccount.Strategy, "EndpointSlice": endpointslice.Strategy,
		"Endpoints": endpoint.Strategy, "PodTemplate": podtemplate.Strategy, "ControllerRevision": controllerrevision.Strategy,
		"PriorityClass": priorityclass.Strategy, "PodDisruptionBudget": poddisruptionbudget.Strategy,
		"IPAddress": ipaddress.Strategy, "ServiceCIDR": servicecidr.Strategy,
	}
	updates := map[string]rest.RESTUpdateStrategy{
		"Pod": pod.Strategy, "Service": service.Strategy, "Deployment": deployment.Strategy, "ReplicaSet": replicaset.Strategy,
		"Lease": lease.Strategy, "ConfigMap": configmap.Strategy, "Event": event.Strategy, "Namespace": namespace.Strategy,
		"Node": node.Strategy, "Secret": secret.Strategy, "ServiceAccount": serviceaccount.Strategy, "EndpointSlice": endpointslice.Strategy,
		"Endpoints": endpoint.Strategy, "PodTemplate": podtemplate.Strategy, "ControllerRevision": controllerrevision.Strategy,
		"PriorityClass": priorityclass.Strategy, "PodDisruptionBudget": poddisruptionbudget.Strategy,
		"IPAddress": ipaddress.Strategy, "ServiceCIDR": servicecidr.Strategy,
		"Pod/status": pod.StatusStrategy, "Service/status": service.StatusStrategy, "Deployment/status": deployment.StatusStrategy,
		"ReplicaSet/status": replicaset.StatusStrategy, "Namespace/status": namespace.StatusStrategy, "Node/status": node.StatusStrategy,
		"PodDisruptionBudget/status": poddisruptionbudget.StatusStrategy, "ServiceCIDR/status": servicecidr.StatusStrategy,
	}
	enc := json.NewEncoder(os.Stdout)
	enc.SetEscapeHTML(false)
	sc := bufio.NewScanner(os.Stdin)
	sc.Buffer(make([]byte, 1<<20), 64<<20)
	for sc.Scan() {
		var i in
		if err := json.Unmarshal(sc.Bytes(), &i); err != nil {
			panic(err)
		}
		func() {
			o := out{Name: i.Name, New: i.New, Old: i.Old, Status: i.Status}
			defer func() {
				if r := recover(); r != nil {
					o.Error = fmt.Sprint("panic: ", r)
				}
				enc.Encode(o)
			}()
			obj, err := decode(i.New)
			if err != nil {
				o.Error = err.Error()
				return
			}
			gvk := struct{ Kind, APIVersion string }{}
			json.Unmarshal(i.New, &gvk)
			acc := obj.(metav1.ObjectMetaAccessor).GetObjectMeta()
			ctx := genericrequest.WithNamespace(context.Background(), acc.GetNamespace())
			gv := schema.FromAPIVersionAndKind(gvk.APIVersion, gvk.Kind).GroupVersion()
			resources := map[string]string{"Pod": "pods", "Service": "services", "Deployment": "deployments", "ReplicaSet": "replicasets", "Lease": "leases", "ConfigMap": "configmaps", "Event": "events", "Namespace": "namespaces", "Node": "nodes", "Secret": "secrets", "ServiceAccount": "serviceaccounts", "EndpointSlice": "endpointslices", "Endpoints": "endpoints", "PodTemplate": "podtemplates", "ControllerRevision": "controllerrevisions", "PriorityClass": "priorityclasses", "PodDisruptionBudget": "poddisruptionbudgets", "IPAddress": "ipaddresses", "ServiceCIDR": "servicecidrs"}
			ri := &genericrequest.RequestInfo{IsResourceRequest: true, APIGroup: gv.Group, APIVersion: gv.Version, Resource: resources[gvk.Kind], Namespace: acc.GetNamespace(), Name: acc.GetName()}
			if i.Status {
				ri.Subresource = "status"
			}
			ctx = genericrequest.WithRequestInfo(ctx, ri)
			if i.Old == nil {
				rest.FillObjectMetaSystemFields(acc)
				acc.SetUID("u")
				acc.SetCreationTimestamp(metav1.Time{})
				s := creates[gvk.Kind]
				if p, ok := obj.(*api.Pod); ok && p.Spec.ServiceAccountName == "" {
					p.Spec.ServiceAccountName = "default"
				}
				if v, ok := obj.(*api.Service); ok {
					err = svc.Begin(v, nil)
				}
				if err == nil {
					err = rest.BeforeCreate(s, ctx, obj)
				}
				if err == nil {
					o.Warnings = s.WarningsOnCreate(ctx, obj)
				}
			} else {
				old, e := decode(i.Old)
				if e != nil {
					o.Error = "old: " + e.Error()
					return
				}
				k := gvk.Kind
				if i.Status {
					k += "/status"
				}
				s := updates[k]
				if v, ok := obj.(*api.Service); ok && !i.Status {
					err = svc.Begin(v, old.(*api.Service))
				}
				if err == nil {
					err = rest.BeforeUpdate(s, ctx, obj, old)
				}
				if err == nil {
					o.Warnings = s.WarningsOnUpdate(ctx, obj, old)
				}
			}
			if err != nil {
				if se, ok := err.(*errors.StatusError); ok && se.ErrStatus.Details != nil && len(se.ErrStatus.Details.Causes) > 0 {
					for _, c := range se.ErrStatus.Details.Causes {
						// Kubernetes says some things twice, and its clients show them once.
						if line := c.Field + ": " + c.Message; !slices.Contains(o.Causes, line) {
							o.Causes = append(o.Causes, line)
						}
					}
				} else {
					o.Error = err.Error()
				}
				return
			}
			versioned, err := legacyscheme.Scheme.ConvertToVersion(obj, gv)
			if err != nil {
				o.Error = err.Error()
				return
			}
			// What the endpoint itself warns of comes first.
			versioned.GetObjectKind().SetGroupVersionKind(gv.WithKind(gvk.Kind))
			if warning := deprecation.WarningMessage(versioned); warning != "" {
				o.Warnings = append([]string{warning}, o.Warnings...)
			}
			raw, err := runtime.Encode(pb, versioned)
			if err != nil {
				o.Error = err.Error()
				return
			}
			stored, _, err := pb.Decode(raw, nil, nil)
			if err != nil {
				o.Error = err.Error()
				return
			}
			b, err := json.Marshal(stored)
			if err != nil {
				o.Error = err.Error()
				return
			}
			o.Object = b
		}()
	}
}
