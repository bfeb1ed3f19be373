//! Requests without a sign-in, and answers.

use reqwest::Method;
use reqwest::header::HeaderMap;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::{ADMIN_TOKEN, User, password_of, within};

/// Somebody with a connection to the server.
#[derive(Clone)]
pub struct Client {
    pub http: reqwest::Client,
    pub url: String,
}

/// What the server answered.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: HeaderMap,
    pub body: String,
}

impl Answer {
    pub async fn of(response: reqwest::Response) -> Self {
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        Self { status, headers, body: within("a body", response.text()).await.unwrap() }
    }

    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|_| panic!("not JSON: {self:?}"))
    }

    /// The body of a success.
    #[track_caller]
    pub fn read<T: DeserializeOwned>(self) -> T {
        let answer = self.ok();
        serde_json::from_str(&answer.body).unwrap_or_else(|error| panic!("{error}: {answer:?}"))
    }

    /// The token that a sign-in was answered with.
    #[track_caller]
    pub fn jwt(self) -> String {
        self.ok().json()["jwt"].as_str().unwrap().to_owned()
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }

    /// The `error` sentence of a refusal.
    pub fn error(&self) -> String {
        self.json()["error"].as_str().unwrap_or_else(|| panic!("no error: {self:?}")).to_owned()
    }

    /// The `code` of a refusal.
    pub fn code(&self) -> String {
        self.json()["code"].as_str().unwrap_or_else(|| panic!("no code: {self:?}")).to_owned()
    }

    /// Itself, if it is a success.
    #[track_caller]
    pub fn ok(self) -> Self {
        assert_eq!(self.status, 200, "{self:?}");
        self
    }

    /// Itself, where it is a refusal with this status and code, in the one form that all of them have.
    #[track_caller]
    pub fn refused(self, status: u16, code: &str) -> Self {
        assert_eq!(self.status, status, "{self:?}");
        assert_eq!(self.header("content-type"), Some("application/json"), "{self:?}");
        let body = self.json();
        assert_eq!(body["code"], code, "{self:?}");
        let sentence = body["error"].as_str().unwrap_or_default();
        assert!(!sentence.is_empty() && body.as_object().unwrap().len() == 2, "{self:?}");
        self
    }
}

impl Client {
    pub fn new(url: &str) -> Self {
        Self::with(reqwest::Client::builder(), url)
    }

    /// With settings of its own, such as a root certificate.
    pub fn with(builder: reqwest::ClientBuilder, url: &str) -> Self {
        // Both may be compiled in; the first to ask decides for the process.
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let http = builder.no_proxy().build().unwrap();
        Self { http, url: url.to_owned() }
    }

    pub async fn get(&self, path: &str) -> Answer {
        self.request(Method::GET, path, &[], None).await
    }

    /// Posts JSON.
    pub async fn post(&self, path: &str, body: &Value) -> Answer {
        self.request(Method::POST, path, &[], Some(body.to_string().into())).await
    }

    /// Posts JSON with the right `admin_token` added.
    pub async fn admin(&self, path: &str, mut body: Value) -> Answer {
        body["admin_token"] = json!(ADMIN_TOKEN);
        self.post(path, &body).await
    }

    pub async fn request(&self, method: Method, path: &str, headers: &[(&str, &str)], body: Option<Vec<u8>>) -> Answer {
        let mut request = self.http.request(method, format!("{}{path}", self.url));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        if let Some(body) = body {
            request = request.body(body);
        }
        Answer::of(within("an answer", request.send()).await.unwrap()).await
    }

    /// Posts a body; `None` if the server is gone before it has answered.
    pub async fn post_if_there(
        &self,
        path: &str,
        authorization: &str,
        headers: &[(&str, &str)],
        body: Vec<u8>,
    ) -> Option<Answer> {
        let mut request = self.http.post(format!("{}{path}", self.url)).header("authorization", authorization);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let response = request.body(body).send().await.ok()?;
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        Some(Answer { status, headers, body: response.text().await.ok()? })
    }

    /// Makes a user with [`password_of`] the name.
    pub async fn create_user(&self, username: &str, tenant: &str) -> Answer {
        self.create_user_with(username, tenant, json!({})).await.ok()
    }

    /// Makes a user with more fields.
    pub async fn create_user_with(&self, username: &str, tenant: &str, more: Value) -> Answer {
        let mut body = json!({ "username": username, "password": password_of(username), "tenant_name": tenant });
        for (name, value) in more.as_object().unwrap() {
            body[name] = value.clone();
        }
        self.admin("/create_user", body).await
    }

    pub async fn login(&self, username: &str, password: &str) -> Answer {
        self.post("/login", &json!({ "username": username, "password": password })).await
    }

    /// Signs in with [`password_of`] the name.
    pub async fn sign_in(&self, username: &str) -> User {
        let jwt = self.login(username, &password_of(username)).await.jwt();
        self.with_authorization(&format!("Bearer {jwt}"))
    }

    /// The sender in this header.
    pub fn with_authorization(&self, authorization: &str) -> User {
        User { client: self.clone(), authorization: authorization.to_owned() }
    }
}
