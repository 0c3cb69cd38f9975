################################################################################
#
# zeroforce-usbip
#
################################################################################

# No source: scripts of this folder only. Buildroot's usbip brings the program,
# and neither a service nor the part of the kernel that lends.
ZEROFORCE_USBIP_LICENSE = PROPRIETARY

define ZEROFORCE_USBIP_LINUX_CONFIG_FIXUPS
	$(call KCONFIG_ENABLE_OPT,CONFIG_USBIP_CORE)
	$(call KCONFIG_ENABLE_OPT,CONFIG_USBIP_HOST)
	$(call KCONFIG_ENABLE_OPT,CONFIG_NETFILTER)
	$(call KCONFIG_ENABLE_OPT,CONFIG_NF_TABLES)
	$(call KCONFIG_ENABLE_OPT,CONFIG_NF_TABLES_INET)
endef

define ZEROFORCE_USBIP_INSTALL_TARGET_CMDS
	$(INSTALL) -D -m 0755 $(ZEROFORCE_USBIP_PKGDIR)/zeroforce-usbip \
		$(TARGET_DIR)/usr/lib/zeroforce/zeroforce-usbip
	$(INSTALL) -D -m 0644 $(ZEROFORCE_USBIP_PKGDIR)/usbip.nft \
		$(TARGET_DIR)/usr/lib/zeroforce/usbip.nft
endef

# Buildroot takes it for OpenRC, too, which runs /etc/init.d/S??*.
define ZEROFORCE_USBIP_INSTALL_INIT_SYSV
	$(INSTALL) -D -m 0755 $(ZEROFORCE_USBIP_PKGDIR)/S74zeroforce-usbip \
		$(TARGET_DIR)/etc/init.d/S74zeroforce-usbip
endef

define ZEROFORCE_USBIP_INSTALL_INIT_SYSTEMD
	$(INSTALL) -D -m 0644 $(ZEROFORCE_USBIP_PKGDIR)/zeroforce-usbip.service \
		$(TARGET_DIR)/usr/lib/systemd/system/zeroforce-usbip.service
endef

$(eval $(generic-package))
