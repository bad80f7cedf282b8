package svc

import (
	api "k8s.io/kubernetes/pkg/apis/core"
	"k8s.io/kubernetes/pkg/registry/core/service/ipallocator"
)

// Begin does what beginCreate and beginUpdate do, short of giving out addresses and ports.
func Begin(service, old *api.Service) error {
	al := makeAlloc(api.IPv4Protocol, map[api.IPFamily]ipallocator.Interface{api.IPv4Protocol: nil}, nil)
	if old != nil {
		before := old.DeepCopy()
		if old.Spec.Type != api.ServiceTypeExternalName {
			_ = al.initIPFamilyFields(After{before}, Before{nil})
		}
		old = before
		patchAllocatedValues(After{service}, Before{old})
	}
	normalizeClusterIPs(After{service}, Before{old})
	if err := al.initIPFamilyFields(After{service}, Before{old}); err != nil {
		return err
	}
	if service.Spec.Type == api.ServiceTypeLoadBalancer && service.Spec.ExternalTrafficPolicy == api.ServiceExternalTrafficPolicyLocal && service.Spec.HealthCheckNodePort == 0 {
		service.Spec.HealthCheckNodePort = 30999
	}
	return nil
}
