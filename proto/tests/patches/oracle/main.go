// Asks Kubernetes' own code what it makes of the patches in the cases on standard input, and writes the cases with
// its answers, as kubernetes.jsonl has them. It is no part of any build.
//
//	go mod init oracle, require k8s.io/api and k8s.io/apimachinery at the version to compare with and
//	gopkg.in/evanphx/json-patch.v4; go build -o ask .
package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"

	jsonpatch "gopkg.in/evanphx/json-patch.v4"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/strategicpatch"
	kjson "sigs.k8s.io/json"
)

type line struct {
	Name     string          `json:"name"`
	Kind     string          `json:"kind"`
	Type     string          `json:"type"`
	Original json.RawMessage `json:"original"`
	Patch    json.RawMessage `json:"patch,omitempty"`
	Modified json.RawMessage `json:"modified,omitempty"`
	Current  json.RawMessage `json:"current,omitempty"`
	Error    string          `json:"error,omitempty"`
	Result   json.RawMessage `json:"result,omitempty"`
}

func object(kind string) any {
	switch kind {
	case "Pod":
		return &corev1.Pod{}
	case "Service":
		return &corev1.Service{}
	case "Deployment":
		return &appsv1.Deployment{}
	case "PodDisruptionBudget":
		return &policyv1.PodDisruptionBudget{}
	}
	panic(kind)
}

// answer is what the apiserver makes of a patch: the error of applying it, or the object that comes of it. For the type
// apply, it is the patch that kubectl apply makes.
func answer(l line) (json.RawMessage, error) {
	typed := object(l.Kind)
	var patched []byte
	switch l.Type {
	case "strategic":
		original, patch := map[string]any{}, map[string]any{}
		if err := kjson.UnmarshalCaseSensitivePreserveInts(l.Original, &original); err != nil {
			return nil, err
		}
		if err := kjson.UnmarshalCaseSensitivePreserveInts(l.Patch, &patch); err != nil {
			return nil, err
		}
		merged, err := strategicpatch.StrategicMergeMapPatch(original, patch, typed)
		if err != nil {
			return nil, err
		}
		if err := runtime.DefaultUnstructuredConverter.FromUnstructured(merged, typed); err != nil {
			return nil, fmt.Errorf("undecodable: %w", err)
		}
		return json.Marshal(typed)
	case "apply":
		meta, err := strategicpatch.NewPatchMetaFromStruct(typed)
		if err != nil {
			return nil, err
		}
		return strategicpatch.CreateThreeWayMergePatch(l.Original, l.Modified, l.Current, meta, true)
	case "merge":
		merged, err := jsonpatch.MergePatch(l.Original, l.Patch)
		if err != nil {
			return nil, err
		}
		patched = merged
	case "json":
		patch, err := jsonpatch.DecodePatch(l.Patch)
		if err != nil {
			return nil, err
		}
		if patched, err = patch.Apply(l.Original); err != nil {
			return nil, err
		}
	}
	if err := kjson.UnmarshalCaseSensitivePreserveInts(patched, typed); err != nil {
		return nil, fmt.Errorf("undecodable: %w", err)
	}
	return json.Marshal(typed)
}

func main() {
	jsonpatch.AccumulatedCopySizeLimit = 3 * 1024 * 1024
	out := json.NewEncoder(os.Stdout)
	out.SetEscapeHTML(false)
	in := bufio.NewScanner(os.Stdin)
	in.Buffer(make([]byte, 1<<20), 64<<20)
	for in.Scan() {
		var l line
		if err := json.Unmarshal(in.Bytes(), &l); err != nil {
			panic(err)
		}
		func() {
			defer func() {
				if r := recover(); r != nil {
					fmt.Fprintln(os.Stderr, "panic, left out:", l.Name, r)
				}
			}()
			result, err := answer(l)
			if err != nil {
				l.Error = err.Error()
			}
			l.Result = result
			if err := out.Encode(l); err != nil {
				panic(err)
			}
		}()
	}
}
