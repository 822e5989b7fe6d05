//! HTTP of a node, put together: its listener, who may do what, and the routes.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::middleware::from_fn_with_state;

use super::http::Served;
use super::takeover::{EarlierDoor, Forwarding, forward};
use super::tls::Tls;
use super::vital::spawn_vital;
use super::{StartError, on_conflict};
use crate::access::{Access, Rules, Secrets};
use crate::api::Api;
use crate::cluster::Neighbours;
use crate::config::{self, Config, FrameAncestor};
use crate::control::{Control, OnConflict};
use crate::dashboard;
use crate::hooks::{Authority, Webhooks};
use crate::whip::{Admission, IceServers, PostRates, Whip, router, under, with_neighbours};

/// What may become another while the server runs.
#[derive(Clone)]
pub(super) struct Changing {
    pub access: Arc<Access>,
    pub authority: Arc<Authority>,
    pub webhooks: Arc<Webhooks>,
    pub tls: Option<Arc<Tls>>,
}

impl Changing {
    /// As `config` has it, with the certificate read.
    pub fn new(config: &Config) -> Result<Changing, StartError> {
        let config::Hooks { url, secret, roots, .. } = &config.hooks;
        Ok(Changing {
            access: Arc::new(Access::new(rules(&config.access, config.http))),
            authority: Authority::new(config.access.auth_url.as_deref(), roots),
            webhooks: Webhooks::new(url.as_deref(), secret.as_deref(), roots),
            tls: config.tls.as_ref().map(Tls::read).transpose()?.map(Arc::new),
        })
    }
}

/// Who may do what.
pub(super) fn rules(access: &config::Access, http: SocketAddr) -> Rules {
    Rules::new(&Secrets {
        publish: access.publish.clone(),
        watch: access.watch.clone(),
        admin: access.admin.clone(),
        jwt: access.jwt.clone(),
        service: access.auth_url.is_some(),
        everybody: access.everybody,
        metrics_open: access.metrics_open,
        http_is_loopback: http.ip().is_loopback(),
        allow: access.places.allow.clone(),
        deny: access.places.deny.clone(),
        trusted_proxies: access.places.trusted_proxies.clone(),
    })
}

pub(super) fn bind_http(address: SocketAddr) -> Result<std::net::TcpListener, StartError> {
    std::net::TcpListener::bind(address)
        .and_then(|listener| listener.set_nonblocking(true).map(|()| listener))
        .map_err(|error| StartError::HttpBind { address, error })
}

/// The other nodes, where there are some that share a secret.
pub(super) fn neighbours(
    config: &Config,
    control: &Arc<Control>,
    runtime: &tokio::runtime::Runtime,
) -> Option<Arc<Neighbours>> {
    let keys = config.cluster.secrets.keys();
    let cluster = (!keys.is_empty())
        .then(|| Neighbours::new(control.clone(), keys, config.cluster.link_children))?;
    spawn_vital(runtime, "looking after links", cluster.clone().tend_links());
    spawn_vital(runtime, "looking for streams", cluster.clone().look_for_awaited());
    Some(cluster)
}

/// WHIP, WHEP, the API, the pages; with an `earlier` process, what that has to answer as well.
pub(super) fn served(
    config: &Config,
    control: &Arc<Control>,
    api: &Arc<Api>,
    changing: &Changing,
    cluster: Option<Arc<Neighbours>>,
    earlier: Option<Arc<EarlierDoor>>,
) -> Served {
    let framers = config.frame_ancestors.iter().map(FrameAncestor::as_str);
    if let Some(cluster) = &cluster {
        api.joins(cluster.clone());
    }
    let more = api.router().merge(dashboard::router(framers));
    let Changing { access, authority, webhooks, tls } = changing.clone();
    let admission = Admission { access: access.clone(), authority };
    let Config { post_rate_per_ip: per_source, post_rate_per_token: per_token, .. } = *config;
    let whip = Whip {
        control: control.clone(),
        admission,
        cluster: cluster.clone(),
        webhooks,
        ice_servers: ice_servers(config),
        log_addresses: config.log_addresses,
        rates: PostRates { per_source, per_token },
    };
    let mut app = router(whip, more);
    if let Some(earlier) = earlier {
        let (control, access) = (control.clone(), access.clone());
        let refuses_conflicts = on_conflict(config) == OnConflict::Refuse;
        let to = Forwarding { control, access, earlier, refuses_conflicts };
        app = app.layer(from_fn_with_state(to, forward));
    }
    if let Some(cluster) = cluster {
        // Around what the earlier process has to answer: other nodes do not tell the two apart.
        app = with_neighbours(cluster, app);
    }
    Served { app: under(&config.base_path, app), access, tls }
}

fn ice_servers(config: &Config) -> IceServers {
    let config::IceServers { servers, secret, ttl } = &config.ice_servers;
    let secret = secret.as_deref();
    let servers =
        servers.iter().map(|server| (server.uri.as_str(), secret.filter(|_| server.relays)));
    IceServers::new(servers, *ttl)
}
