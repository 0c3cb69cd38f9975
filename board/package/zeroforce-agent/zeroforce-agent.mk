################################################################################
#
# zeroforce-agent
#
################################################################################

ZEROFORCE_AGENT_VERSION = 0.1.0
ZEROFORCE_AGENT_LICENSE = PROPRIETARY
ZEROFORCE_AGENT_LICENSE_FILES = tunnel-agent.cjs.LEGAL.txt
ZEROFORCE_AGENT_REDISTRIBUTE = NO
ZEROFORCE_AGENT_DEPENDENCIES = nodejs

ifeq ($(BR2_PACKAGE_ZEROFORCE_AGENT_RELEASE),y)
ZEROFORCE_AGENT_SITE = $(call qstrip,$(BR2_PACKAGE_ZEROFORCE_AGENT_RELEASE_SITE))
else
ZEROFORCE_AGENT_SITE = $(BR2_EXTERNAL_ZEROFORCE_PATH)/../dist
ZEROFORCE_AGENT_SITE_METHOD = local
# Other things that are made there are large and not needed.
ZEROFORCE_AGENT_OVERRIDE_SRCDIR_RSYNC_EXCLUSIONS = \
	--include=/tunnel-agent --include=/tunnel-agent.cjs \
	--include=/tunnel-agent.cjs.LEGAL.txt --exclude=*
endif

ifeq ($(BR2_PACKAGE_ZEROFORCE_AGENT_RTSP_RECORDER),y)
ZEROFORCE_AGENT_KIND = rtsp-recorder
ZEROFORCE_AGENT_SSHD_CONFIG = /etc/zeroforce/sshd_config
# It lends no USB ports.
define ZEROFORCE_AGENT_CLOSE_USBIP
	$(SED) 's,/opt/beamer/beamer-ssh-tunnel,$(ZEROFORCE_AGENT_SSHD_CONFIG),' \
		-e '/^PermitOpen /s, [^ ]*:3240,,g' -e 's,USB/IP and to ,,' \
		$(TARGET_DIR)$(ZEROFORCE_AGENT_SSHD_CONFIG)
endef
else
ZEROFORCE_AGENT_KIND = beamer
ZEROFORCE_AGENT_SSHD_CONFIG = /opt/beamer/beamer-ssh-tunnel
endif

# Nothing is compiled. What is missing or cut short is found here, and not on a
# device: the program ends in a line, and the release has the sums of its files.
define ZEROFORCE_AGENT_BUILD_CMDS
	for file in tunnel-agent tunnel-agent.cjs tunnel-agent.cjs.LEGAL.txt; do \
		if [ ! -s $(@D)/$$file ] || [ -n "$$(tail -c 1 $(@D)/$$file)" ]; then \
			echo "zeroforce-agent: $$file is missing or not whole: run 'make bundle' in the checkout," >&2; \
			echo "then 'make zeroforce-agent-dirclean' here" >&2; \
			exit 1; \
		fi; \
	done
	if [ -e $(@D)/SHA256SUMS ]; then \
		cd $(@D) && sha256sum --quiet --check SHA256SUMS; \
	fi
endef

define ZEROFORCE_AGENT_INSTALL_PROGRAM
	$(INSTALL) -D -m 0755 $(@D)/tunnel-agent \
		$(TARGET_DIR)/usr/lib/zeroforce/tunnel-agent
	$(INSTALL) -D -m 0644 $(@D)/tunnel-agent.cjs \
		$(TARGET_DIR)/usr/lib/zeroforce/tunnel-agent.cjs
	$(INSTALL) -D -m 0644 $(@D)/tunnel-agent.cjs.LEGAL.txt \
		$(TARGET_DIR)/usr/lib/zeroforce/tunnel-agent.cjs.LEGAL.txt
	$(INSTALL) -d -m 0755 $(TARGET_DIR)/usr/bin
	ln -sf ../lib/zeroforce/tunnel-agent $(TARGET_DIR)/usr/bin/tunnel-agent
endef

define ZEROFORCE_AGENT_INSTALL_CONFIG
	$(INSTALL) -D -m 0600 \
		$(ZEROFORCE_AGENT_PKGDIR)/../../$(ZEROFORCE_AGENT_KIND)/config.json \
		$(TARGET_DIR)/etc/zeroforce/config.json
	$(INSTALL) -d -m 0700 $(TARGET_DIR)/var/lib/zeroforce
	$(INSTALL) -D -m 0644 $(ZEROFORCE_AGENT_PKGDIR)/90-zeroforce.conf \
		$(TARGET_DIR)/etc/sysctl.d/90-zeroforce.conf
endef

# Its folder for penalties stays empty: zeroforce-sshd gives that option to an
# sshd that knows it.
define ZEROFORCE_AGENT_INSTALL_SSHD_CONFIG
	$(INSTALL) -D -m 0755 $(ZEROFORCE_AGENT_PKGDIR)/zeroforce-sshd \
		$(TARGET_DIR)/usr/lib/zeroforce/zeroforce-sshd
	$(INSTALL) -D -m 0644 $(ZEROFORCE_AGENT_PKGDIR)/beamer-ssh-tunnel \
		$(TARGET_DIR)$(ZEROFORCE_AGENT_SSHD_CONFIG)
	$(ZEROFORCE_AGENT_CLOSE_USBIP)
endef

define ZEROFORCE_AGENT_INSTALL_TARGET_CMDS
	$(ZEROFORCE_AGENT_INSTALL_PROGRAM)
	$(ZEROFORCE_AGENT_INSTALL_CONFIG)
	$(ZEROFORCE_AGENT_INSTALL_SSHD_CONFIG)
endef

ZEROFORCE_AGENT_SERVICES = \
	$(if $(BR2_PACKAGE_ZEROFORCE_AGENT_MONITOR_ONLY),\
		zeroforce-monitor,\
		zeroforce zeroforce-sshd)

define ZEROFORCE_AGENT_INSTALL_SUPERVISE
	$(INSTALL) -D -m 0755 $(ZEROFORCE_AGENT_PKGDIR)/zeroforce-supervise \
		$(TARGET_DIR)/usr/lib/zeroforce/zeroforce-supervise
endef

# BusyBox and sysvinit. What lies in /etc/init.d is started, so only what is
# wanted lies there.
define ZEROFORCE_AGENT_INSTALL_INIT_SYSV
	$(ZEROFORCE_AGENT_INSTALL_SUPERVISE)
	$(foreach script,\
		$(filter $(addprefix %,$(ZEROFORCE_AGENT_SERVICES)),\
			S70zeroforce S71zeroforce-sshd S72zeroforce-monitor),\
		$(INSTALL) -D -m 0755 $(ZEROFORCE_AGENT_PKGDIR)/$(script) \
			$(TARGET_DIR)/etc/init.d/$(script)$(sep))
endef

# Without this, Buildroot would take the scripts above for OpenRC, too, and
# OpenRC would start what is in both places twice.
define ZEROFORCE_AGENT_INSTALL_INIT_OPENRC
	$(ZEROFORCE_AGENT_INSTALL_SUPERVISE)
	$(foreach service,zeroforce zeroforce-sshd zeroforce-monitor,\
		$(INSTALL) -D -m 0755 $(ZEROFORCE_AGENT_PKGDIR)/$(service).openrc \
			$(TARGET_DIR)/etc/init.d/$(service)$(sep))
	$(INSTALL) -d -m 0755 $(TARGET_DIR)/etc/runlevels/default
	$(foreach service,$(ZEROFORCE_AGENT_SERVICES),\
		ln -sf /etc/init.d/$(service) \
			$(TARGET_DIR)/etc/runlevels/default/$(service)$(sep))
endef

# Buildroot enables every unit (systemctl preset-all); the first line that
# names one decides.
define ZEROFORCE_AGENT_INSTALL_INIT_SYSTEMD
	$(foreach service,zeroforce zeroforce-sshd zeroforce-monitor,\
		$(INSTALL) -D -m 0644 $(ZEROFORCE_AGENT_PKGDIR)/$(service).service \
			$(TARGET_DIR)/usr/lib/systemd/system/$(service).service$(sep))
	$(INSTALL) -D -m 0644 $(ZEROFORCE_AGENT_PKGDIR)/zeroforce.tmpfiles \
		$(TARGET_DIR)/usr/lib/tmpfiles.d/zeroforce.conf
	$(INSTALL) -d -m 0755 $(TARGET_DIR)/usr/lib/systemd/system-preset
	{ \
		$(foreach service,$(ZEROFORCE_AGENT_SERVICES),\
			echo "enable $(service).service";) \
		echo "disable zeroforce.service"; \
		echo "disable zeroforce-sshd.service"; \
		echo "disable zeroforce-monitor.service"; \
	} > $(TARGET_DIR)/usr/lib/systemd/system-preset/70-zeroforce.preset
endef

ifeq ($(BR2_PACKAGE_ZEROFORCE_AGENT_UNPRIVILEGED),y)
define ZEROFORCE_AGENT_USERS
	zeroforce -1 zeroforce -1 * /var/lib/zeroforce - - zeroforce agent
endef
endif

# What the agent and its scripts run.
define ZEROFORCE_AGENT_BUSYBOX_CONFIG_FIXUPS
	$(call KCONFIG_ENABLE_OPT,CONFIG_FLOCK)
	$(call KCONFIG_ENABLE_OPT,CONFIG_LOGGER)
	$(call KCONFIG_ENABLE_OPT,CONFIG_NETSTAT)
	$(call KCONFIG_ENABLE_OPT,CONFIG_SETSID)
endef

$(eval $(generic-package))
