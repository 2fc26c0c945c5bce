{{/* Keys of a section that are set, as TOML. JSON's texts are TOML's; numbers arrive as floats and must not leave as such. */}}
{{- define "apono-connector.keys" -}}
{{- $values := .values -}}
{{- range .keys -}}
{{- $value := get $values . -}}
{{- if kindIs "string" $value -}}
{{- if $value }}
{{ . }} = {{ $value | toJson }}
{{- end -}}
{{- else if hasKey $values . }}
{{ . }} = {{ int64 $value }}
{{- end -}}
{{- end -}}
{{- end -}}

{{- define "apono-connector.toml" -}}
# Made by Helm. The connector reads it at its start; the chart restarts the pods, one after the other, when it changes.
listen = "0.0.0.0:8080"
state_dir = "/var/lib/apono-connector"

[control_plane]
url = {{ .Values.apono.url | toJson }}
token_file = "/etc/apono-connector/token/token"
{{- if include "apono-connector.hasCa" .Values.apono.ca }}
ca_file = "/etc/apono-connector/control-plane-ca/ca.pem"
{{- end }}

[guardrails]
{{- include "apono-connector.keys" (dict "values" .Values.guardrails "keys" (list "longest_grant_s" "largest_skew_s")) }}

[executor]
{{- include "apono-connector.keys" (dict "values" .Values.executor "keys" (list "slots" "per_integration")) }}

[sweeps]
{{- include "apono-connector.keys" (dict "values" .Values.sweeps "keys" (list "expiry_every_s" "drift_every_s" "clean_up_every_s" "inherit_every_s")) }}

{{ if include "apono-connector.hasCa" .Values.aws.rdsCa -}}
[aws]
rds_ca_file = "/etc/apono-connector/rds-ca/ca.pem"

{{ end -}}
[secrets]
{{- include "apono-connector.keys" (dict "values" .Values.secrets "keys" (list "keep_s")) }}
{{- with .Values.secrets.vault }}
{{- if .url }}

[secrets.vault]
{{- include "apono-connector.keys" (dict "values" . "keys" (list "url" "namespace" "kv_version" "login" "login_mount" "role" "aws_region" "aws_server_id")) }}
{{- if include "apono-connector.hasCa" .ca }}
ca_file = "/etc/apono-connector/vault-ca/ca.pem"
{{- end }}
{{- if include "apono-connector.vaultTokenKind" $ }}
token_file = "/etc/apono-connector/vault-token/token"
{{- end }}
{{- end }}
{{- end }}

[log]
{{- include "apono-connector.keys" (dict "values" .Values.log "keys" (list "format" "filter")) }}
{{- end -}}

{{/* The port a host or URL names, or nothing. */}}
{{- define "apono-connector.port" -}}
{{- if . -}}
{{- $url := ternary . (printf "https://%s" .) (contains "://" .) -}}
{{- get (urlParse $url) "host" | regexFind ":[0-9]+$" | trimPrefix ":" -}}
{{- end -}}
{{- end -}}
