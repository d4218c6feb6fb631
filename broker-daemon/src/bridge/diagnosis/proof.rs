//! Commands that show what is wrong, for whoever has the account.

use super::Diagnosis;
use crate::bridge::policy;

/// The number of the account, asked from AWS.
const ACCOUNT: &str = "$(aws sts get-caller-identity --query Account --output text)";

impl Diagnosis<'_> {
    /// The endpoint of the account in this Region.
    pub(super) fn prove_endpoint(&self) -> String {
        format!(
            "aws iot describe-endpoint --endpoint-type iot:Data-ATS --region {}",
            policy::region(self.bridge)
        )
    }

    /// Whether AWS knows our certificate in this Region, and its state.
    pub(super) fn prove_certificate(&self) -> String {
        let id = self.certificate.as_deref().unwrap_or("CERTIFICATE-ID");
        let region = policy::region(self.bridge);
        format!(
            "aws iot describe-certificate --region {region} --query certificateDescription.status --certificate-id {id}"
        )
    }

    /// What the policies of our certificate say of one thing, such as `CONNECT` and `client/shed`.
    pub(super) fn prove_policy(&self, action: &str, resource: &str) -> String {
        let id = self.certificate.as_deref().unwrap_or("CERTIFICATE-ID");
        let principal = policy::arn(self.bridge, ACCOUNT, &format!("cert/{id}"));
        let resource = policy::arn(self.bridge, ACCOUNT, resource);
        format!(
            "aws iot test-authorization --region {} --principal \"{principal}\" --client-id '{}' --auth-infos \
             \"actionType={action},resources={resource}\"",
            policy::region(self.bridge),
            self.client_id(),
        )
    }

    /// Who came and went with our ClientId; the log of AWS IoT must be switched on.
    pub(super) fn prove_client_id(&self) -> String {
        format!(
            "aws logs filter-log-events --region {} --log-group-name AWSIotLogsV2 --filter-pattern '{{ $.clientId = \"{}\" }}'",
            policy::region(self.bridge),
            self.client_id(),
        )
    }

    /// What the server shows to somebody who asks for nothing.
    pub(super) fn prove_server(&self, host: &str, name: &str, port: u16) -> String {
        format!("openssl s_client -connect {host}:{port} -servername {name} -showcerts </dev/null")
    }
}
