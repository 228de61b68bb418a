//! From a call and its values to a decision.

use super::compiled::Compiled;
use super::digest::{Subject, context_hash};
use super::identity;
use super::path::Test;
use super::reading::{Got, Lack, Reading, bytes};
use super::{Golden, Meaning, Source, traceparent};
use crate::event::go::{RequestContext, RequestSource, Value};
use crate::event::{Authz, GoCall, Missing, Text};

impl Compiled {
    /// The call with its values, and what is missing of them.
    pub fn call(mut call: GoCall, reading: Reading) -> (GoCall, Vec<Missing>) {
        let Reading { fields, missing, span, .. } = reading;
        call.fields = fields;
        if let Some(Ok((trace, span))) = span {
            let request = call.request.take().unwrap_or_default();
            call.request = Some(request.in_span(trace, span));
        }
        (call, missing)
    }

    /// What a request carries, as its entry tells it.
    pub fn request(reading: &Reading) -> RequestContext {
        let mut values = Values { golden: reading.golden.clone(), missing: Vec::new() };
        let (trace_id, span_id) = values.trace().unzip();
        RequestContext {
            request_id: values.text(Golden::RequestId),
            trace_id,
            span_id,
            ..RequestContext::default()
        }
    }

    /// The decision that a call made, and everything that could not be had of it. The request that it was made for is
    /// the call's, unless the call's own arguments tell it. `registered` is the version of the library's policy files, if
    /// there are any: for what the library does not tell itself. `labels` go into the context's hash.
    pub fn authz(
        &self,
        mut call: GoCall,
        reading: Reading,
        registered: Option<Result<String, String>>,
        labels: &[(String, String)],
    ) -> (Authz, Vec<Missing>) {
        let mut values = Values { golden: reading.golden.clone(), missing: Vec::new() };
        let mut reading = reading;
        let request = values.request(call.request.take(), reading.span.take());
        let identities = std::mem::take(&mut reading.identities);
        let (call, missing) = Self::call(call, reading);
        values.missing.extend(missing);
        let decision = self.decision(&values);
        let mut authz = Authz {
            call,
            library: self.declared.library().to_owned(),
            trace_source: request.known().map(|source| source.name().to_owned()),
            request_id: request.request_id,
            trace_id: request.trace_id,
            span_id: request.span_id,
            subject_id: values.text(Golden::Subject),
            subject_type: values.text(Golden::SubjectType),
            object: values.text(Golden::Object),
            action: values.text(Golden::Action),
            policy_version: values.policy_version(registered),
            policy_id: values.text(Golden::PolicyId),
            error: values.error(),
            ..Authz::default()
        };
        match decision {
            Ok(decision) => authz.decision = Some(decision),
            Err(reason) => values.lacks(Golden::Allow, reason),
        }
        let fingerprint = if identities.is_empty() {
            values.subject_fingerprint()
        } else {
            identity::fingerprint(&identities)
        };
        match fingerprint {
            Ok(fingerprint) => authz.subject_fingerprint = Some(fingerprint),
            Err(reason) => values.missing.push(Missing::new("authz.subject_fingerprint", reason)),
        }
        if authz.object.is_none() && authz.action.is_none() {
            let reason = "neither object nor action is known";
            values.missing.push(Missing::new("authz.authz_context_hash", reason));
        } else {
            let part = |text: &Option<Text>| text.as_ref().map(|text| text.as_bytes().to_vec());
            authz.context_hash = Some(context_hash(
                part(&authz.policy_version).as_deref(),
                part(&authz.object).as_deref(),
                part(&authz.action).as_deref(),
                labels,
            ));
        }
        (authz, values.missing)
    }

    /// Allowed or denied, or why neither.
    fn decision(&self, values: &Values) -> Result<bool, String> {
        let got = values.find(Golden::Allow).map_err(|lack| lack.reason())?;
        let error_decides = matches!(
            self.declared.golden.get(&Golden::Allow),
            Some(Source::Read(expression)) if matches!(expression.test, Test::IsNil | Test::IsNotNil)
        );
        // An answer beside an error is not to be trusted, unless the error is the answer.
        if !error_decides
            && !self.declared.decision_on_error
            && self.declared.golden.contains_key(&Golden::Error)
            && let Ok(error) = values.find(Golden::Error)
            && error.value != Value::Nil
        {
            return Err("the library reported an error".to_owned());
        }
        if self.declared.allow_values.is_empty() {
            return match got.value {
                Value::Bool(allowed) => Ok(allowed),
                Value::Nil | Value::Missing | Value::Opaque => Err("it is no truth value".to_owned()),
                Value::Int(_) | Value::Uint(_) | Value::Text(_) | Value::Bytes(_) => {
                    Err("it is no truth value: the profile has no allow_values for it".to_owned())
                }
            };
        }
        // Of what is there and cannot be read, nothing is known: least of all that it is nil.
        if matches!(got.value, Value::Opaque | Value::Missing) {
            return Err(got.why_no_text());
        }
        let text = bytes(&got.value).unwrap_or_else(|| b"nil".to_vec());
        let text = String::from_utf8_lossy(&text).into_owned();
        match self.declared.allow_values.get(&text) {
            Some(Meaning::Decision(allowed)) => Ok(*allowed),
            Some(Meaning::Neither(reason)) => Err(reason.clone()),
            None => Err(format!("allow_values of the profile has no {text}")),
        }
    }
}

struct Values {
    golden: Vec<(Golden, Result<Got, Lack>)>,
    missing: Vec<Missing>,
}

impl Values {
    fn find(&self, key: Golden) -> Result<&Got, Lack> {
        match self.golden.iter().find(|(golden, _)| *golden == key) {
            Some((_, Ok(got))) => Ok(got),
            Some((_, Err(lack))) => Err(lack.clone()),
            None => Err(Lack::Told("the profile does not say where it is".to_owned())),
        }
    }

    fn lacks(&mut self, key: Golden, reason: String) {
        let path = Golden::ALL.iter().find(|(golden, ..)| *golden == key).map_or("", |(.., path)| *path);
        self.missing.push(Missing::new(path, reason));
    }

    fn text(&mut self, key: Golden) -> Option<Text> {
        let found = self
            .find(key)
            .map_err(|lack| lack.reason())
            .and_then(|got| bytes(&got.value).map(Text::from).ok_or_else(|| got.why_no_text()));
        match found {
            Ok(text) => Some(text),
            Err(reason) => {
                self.lacks(key, reason);
                None
            }
        }
    }

    /// What the library tells, or the version of its files.
    fn policy_version(&mut self, registered: Option<Result<String, String>>) -> Option<Text> {
        match registered {
            Some(version) if self.find(Golden::PolicyVersion).is_err() => match version {
                Ok(version) => Some(version.into()),
                Err(reason) => {
                    self.lacks(Golden::PolicyVersion, reason);
                    None
                }
            },
            Some(_) | None => self.text(Golden::PolicyVersion),
        }
    }

    /// The subject's, where the profile does not say what it is made of.
    fn subject_fingerprint(&self) -> Result<String, String> {
        match self.find(Golden::Subject) {
            Ok(Got { total: Some(_), .. }) => return Err(identity::CUT.to_owned()),
            Ok(got) => bytes(&got.value).map(|id| Subject::of(&id).fingerprint()),
            Err(_) => None,
        }
        .ok_or_else(|| "the subject is not known".to_owned())
    }

    /// Trace and span id.
    fn trace(&self) -> Option<(String, String)> {
        let text = bytes(&self.find(Golden::Traceparent).ok()?.value)?;
        let (trace, span) = traceparent::parse(std::str::from_utf8(&text).ok()?)?;
        Some((trace.to_owned(), span.to_owned()))
    }

    /// The request of a decision: what the arguments say, then the span of the call's context, and what is in neither
    /// from the request that the goroutine works for.
    fn request(
        &mut self,
        of_goroutine: Option<RequestContext>,
        span: Option<Result<(String, String), String>>,
    ) -> RequestContext {
        const UNKNOWN: &str = "no request was seen that this goroutine works for";
        let reason = if of_goroutine.is_some() { "the request did not carry it" } else { UNKNOWN };
        let mut request = of_goroutine.unwrap_or_default();
        // Without a request, what is wrong with the span says more.
        let trace_reason = match &span {
            Some(Err(why)) => format!("{reason}; {why}"),
            Some(Ok(_)) | None => reason.to_owned(),
        };
        if let Some(Ok((trace, span))) = span {
            request = request.in_span(trace, span);
        }
        let own_id = self.find(Golden::RequestId).is_ok();
        if own_id {
            request.request_id = self.text(Golden::RequestId);
        }
        let trace = self.trace();
        if trace.is_some() || (own_id && request.source != RequestSource::Otel) {
            request.source = RequestSource::Arguments;
        }
        if let Some((trace, span)) = trace {
            (request.trace_id, request.span_id) = (Some(trace), Some(span));
        }
        let absent = [
            ("authz.authz_request_id", request.request_id.is_none(), reason),
            ("authz.trace_id", request.trace_id.is_none(), &trace_reason),
            ("authz.span_id", request.span_id.is_none(), &trace_reason),
            ("authz.trace_source", request.known().is_none(), &trace_reason),
        ];
        let absent = absent.into_iter().filter(|(_, absent, _)| *absent);
        self.missing.extend(absent.map(|(field, _, reason)| Missing::new(field, reason.to_owned())));
        request
    }

    /// No error is not a missing error. Of errors that are not read, the type's name.
    fn error(&mut self) -> Option<Text> {
        let (text, lack) = match self.find(Golden::Error) {
            Ok(Got { value: Value::Nil, .. }) | Err(Lack::Nil | Lack::Beyond | Lack::Absent) => return None,
            Ok(got) => {
                let text = bytes(&got.value).map(Text::from);
                let text = text.or_else(|| got.dynamic_type.as_deref().map(Text::from));
                (Some(text.unwrap_or_else(|| Text::from("an error"))), got.unread.clone())
            }
            Err(lack) => (None, Some(lack.reason())),
        };
        if let Some(reason) = lack {
            self.lacks(Golden::Error, reason);
        }
        text
    }
}
