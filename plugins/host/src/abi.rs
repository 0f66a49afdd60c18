//! The numbers of proxy-wasm 0.2.1 ("Types" in the specification).

macro_rules! numbered {
    ($(#[$doc:meta])* $name:ident { $($(#[$vdoc:meta])* $variant:ident = $number:literal),+ $(,)? }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum $name { $($(#[$vdoc])* $variant = $number),+ }

        impl $name {
            /// The variant with this number, if there is one.
            pub fn from_number(number: u32) -> Option<Self> {
                match number { $($number => Some(Self::$variant),)+ _ => None }
            }
        }
    };
}

numbered! {
    /// What a host function answers (`proxy_status_t`).
    Status {
        /// Done.
        Ok = 0,
        /// There is no such key, queue, metric or property.
        NotFound = 1,
        /// An argument makes no sense here.
        BadArgument = 2,
        /// A value could not be serialised.
        SerializationFailure = 3,
        /// A serialised value could not be read.
        ParseFailure = 4,
        /// A pointer and length reach outside the guest's memory.
        InvalidMemoryAccess = 6,
        /// The queue is empty.
        Empty = 7,
        /// The compare-and-swap number is not the current one.
        CasMismatch = 8,
        /// The host could not, or would not, do it; limits answer so.
        InternalFailure = 10,
        /// This host does not have that function.
        Unimplemented = 12,
    }
}

numbered! {
    /// Which map a function means (`proxy_map_type_t`).
    MapType {
        /// The request's head.
        RequestHeaders = 0,
        /// The request's trailers.
        RequestTrailers = 1,
        /// The response's head.
        ResponseHeaders = 2,
        /// The response's trailers.
        ResponseTrailers = 3,
        /// gRPC, never present in this host.
        GrpcInitialMetadata = 4,
        /// gRPC, never present in this host.
        GrpcTrailingMetadata = 5,
        /// The head of a call-out's response.
        CallResponseHeaders = 6,
        /// The trailers of a call-out's response.
        CallResponseTrailers = 7,
    }
}

numbered! {
    /// Which buffer a function means (`proxy_buffer_type_t`).
    BufferType {
        /// The request's body, as far as this plugin holds it.
        RequestBody = 0,
        /// The response's body, as far as this plugin holds it.
        ResponseBody = 1,
        /// TCP, never present in this host.
        DownstreamData = 2,
        /// TCP, never present in this host.
        UpstreamData = 3,
        /// The body of a call-out's response.
        CallResponseBody = 4,
        /// gRPC, never present in this host.
        GrpcMessage = 5,
        /// The VM's configuration.
        VmConfiguration = 6,
        /// The plugin's configuration.
        PluginConfiguration = 7,
        /// The arguments of a foreign callback.
        ForeignArguments = 8,
    }
}

numbered! {
    /// How loud a line is (`proxy_log_level_t`).
    LogLevel {
        /// Finest.
        Trace = 0,
        /// For whoever writes the plugin.
        Debug = 1,
        /// Normal; also the guest's standard output.
        Info = 2,
        /// Something odd.
        Warn = 3,
        /// Something failed; also the guest's standard error.
        Error = 4,
        /// Worst.
        Critical = 5,
    }
}

numbered! {
    /// What a metric is (`proxy_metric_type_t`).
    MetricType {
        /// Only goes up.
        Counter = 0,
        /// Goes up and down.
        Gauge = 1,
        /// Counts values in buckets.
        Histogram = 2,
    }
}

numbered! {
    /// Which stream is meant (`proxy_stream_type_t`).
    StreamType {
        /// The request on its way to the origin.
        Request = 0,
        /// The response on its way to the client.
        Response = 1,
        /// TCP, not supported.
        Downstream = 2,
        /// TCP, not supported.
        Upstream = 3,
    }
}

/// Which way a message goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Direction {
    /// From the client to the origin.
    Request,
    /// From the origin to the client.
    Response,
}

impl Direction {
    pub(crate) fn index(self) -> usize {
        match self {
            Self::Request => 0,
            Self::Response => 1,
        }
    }
}
