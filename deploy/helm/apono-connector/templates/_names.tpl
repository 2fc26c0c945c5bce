{{/* Names. A StatefulSet's pods carry its name and a hash of 11 characters in a label of 63. */}}
{{- define "apono-connector.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 52 | trimSuffix "-" -}}
{{- end -}}

{{- define "apono-connector.fullname" -}}
{{- $name := include "apono-connector.name" . -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 52 | trimSuffix "-" -}}
{{- else if contains $name .Release.Name -}}
{{- .Release.Name | trunc 52 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name $name | trunc 52 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{- define "apono-connector.serviceAccountName" -}}
{{- if .Values.serviceAccount.create -}}
{{- default (include "apono-connector.fullname" .) .Values.serviceAccount.name -}}
{{- else -}}
{{- default "default" .Values.serviceAccount.name -}}
{{- end -}}
{{- end -}}

{{/* What finds the pods: never anything that an upgrade changes, because a StatefulSet's selector cannot be changed. */}}
{{- define "apono-connector.selectorLabels" -}}
app.kubernetes.io/name: {{ include "apono-connector.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/component: connector
{{- end -}}

{{/* Of the pod of `helm test`, which nothing of the above may find. */}}
{{- define "apono-connector.testLabels" -}}
app.kubernetes.io/name: {{ include "apono-connector.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/component: test
{{- end -}}

{{- define "apono-connector.labels" -}}
{{ include "apono-connector.selectorLabels" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- end -}}

{{- define "apono-connector.image" -}}
{{- if .Values.image.digest -}}
{{- printf "%s@%s" .Values.image.repository .Values.image.digest -}}
{{- else -}}
{{- printf "%s:%s" .Values.image.repository (default .Chart.AppVersion .Values.image.tag) -}}
{{- end -}}
{{- end -}}

{{- define "apono-connector.tokenSecretName" -}}
{{- default (printf "%s-token" (include "apono-connector.fullname" .)) .Values.apono.tokenSecret.name -}}
{{- end -}}

{{- define "apono-connector.sharedClaimName" -}}
{{- default (printf "%s-state" (include "apono-connector.fullname" .)) .Values.state.existingClaim -}}
{{- end -}}
